// SPDX-License-Identifier: MIT
/// Rules taken apart: each match fixes one prefix of each address, one range of each port and one value of all
/// else, so that it can be found by a hash of these. A rule with lists stands for several.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <vector>

#include "rules.hpp"

namespace evnf::fw {

/// Lists of addresses too long, or negated, to be taken apart: a match asks whether an address is in the group.
/// Both families' prefixes, each group once.
using Groups = std::vector<std::vector<Prefix>>;

/// How much of each part of the key a match fixes, in bits: the matches of one shape are a tuple.
struct Shape {
    std::uint8_t src = 0, dst = 0; ///< prefix lengths, in the mapped form
    std::uint8_t sport = 0, dport = 0;
    bool protocol = false, mac = false, vlan = false;
    std::uint8_t band = 0; ///< of rules, in order: a search that has found one need not look at later bands
    auto operator<=>(const Shape&) const = default;
};

struct Match {
    fw_entry entry{};
    Prefix src, dst;
    Shape shape;
};

struct Matches {
    std::array<std::vector<Match>, FW_FAMILIES> of; ///< by family; in the order of the rules
    std::array<Groups, FW_SIDES> groups;
    std::vector<std::string> sets; ///< that entries ask for, by the number of their bit
};

/// Throws std::length_error, which says what is too much and of which rule.
Matches take_apart(const std::vector<Rule>& rules);

/// Of `length` bits, counted in the mapped form.
evnf_address address_mask(unsigned length);
/// The key that the match's entry has, whole: the shape says which of it counts.
fw_key key_of(const Match& match);
fw_key mask_of(const Shape& shape);

} // namespace evnf::fw
