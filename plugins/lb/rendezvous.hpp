// SPDX-License-Identifier: MIT
/// Selection tables of balancers that share a seed: a pure function of seed, names and weights, so that all of them have the
/// same table whatever each went through before.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lb_shared.h"
#include "selection.hpp"

namespace evnf::lb {

/// The key of all hashes that follow from the seed.
lb_hash_key key_of(std::string_view seed);

/// What a backend shall have of a table, and the name by which it is known to all balancers.
struct NamedShare {
    std::string_view name;
    Share share;
};

/// Weighted rendezvous hashing: for each slot the backends draw by hash, each as often as its weight says, and the winner
/// owns it. A backend that changes its weight, comes or goes wins or loses slots, and none moves between the others. The
/// counts are what chance gives: about the exact share, with a standard deviation of sqrt(p (1 - p) slots).
Table rendezvous(const lb_hash_key& key, const std::vector<NamedShare>& shares, std::uint32_t slots);

} // namespace evnf::lb
