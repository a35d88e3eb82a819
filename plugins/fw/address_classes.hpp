// SPDX-License-Identifier: MIT
/// The address space cut into runs of addresses that the same rules speak of.
#pragma once

#include <utility>
#include <vector>

#include "matches.hpp"
#include "rows.hpp"

namespace evnf::fw {

/// Both halves of an address, in host byte order; an IPv4 address is the second alone.
using AddressNumber = std::pair<std::uint64_t, std::uint64_t>;

/// From `start` to the next one's, addresses have the row of that index.
struct Run {
    AddressNumber start;
    std::uint32_t row = 0;
};

/// Says of a prefix, or of a group, that the tuple has a match about it.
struct AddressUse {
    Prefix prefix;         ///< all of the family where it is a group's
    int group = -1;
    bool negated = false;  ///< about all that is not in the group
    std::uint32_t tuple = 0;
    auto operator<=>(const AddressUse&) const = default;
};

/// The runs of one family, the first of which starts where the family does.
std::vector<Run> classify_addresses(fw_family family, std::vector<AddressUse> uses, const Groups& groups, Rows& rows);

} // namespace evnf::fw
