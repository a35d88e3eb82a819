// SPDX-License-Identifier: MIT
/// The server-selection table of a service: which backend owns which slot. Pure functions.
#pragma once

#include <cstdint>
#include <vector>

namespace evnf::lb {

/// Slot -> backend index, or LB_NO_BACKEND.
using Table = std::vector<std::uint16_t>;

/// What a backend shall have of a table.
struct Share {
    std::uint16_t backend;
    std::uint32_t weight;
};

/// Divides `slots` by weight with the largest remainders (Hamilton): each count is its exact share
/// rounded down or up, and all add up to `slots`. Equal remainders: the earlier one is served first.
/// All zero when all weights are.
std::vector<std::uint32_t> apportion(const std::vector<std::uint32_t>& weights, std::uint32_t slots);

/// The table that gives every share its count and moves no slot that need not move: a slot changes
/// its owner only if the owner has more slots than it shall have, or none are meant for it.
/// An empty `previous` gives the initial table, which mixes the backends. Deterministic.
Table rewrite(const Table& previous, const std::vector<Share>& shares, std::uint32_t slots);

} // namespace evnf::lb
