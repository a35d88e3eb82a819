// SPDX-License-Identifier: MIT
/// Rules that no packet can ever reach: `fw unused`.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "rule_book.hpp"

namespace evnf::fw {

/// Indices of rules. Without `by`, no packet at all meets the rule's conditions.
struct Unreachable {
    std::size_t rule = 0;
    std::optional<std::size_t> by; ///< the first earlier rule that matches all that this one matches
    bool operator==(const Unreachable&) const = default;
};

/// In the order of the rules. Each is unreachable; of rules whose comparison would take too long, some may be missing, and
/// so are those that only several earlier rules together cover. 16,384 rules take some 100 ms, a
/// set of a million prefixes as long.
std::vector<Unreachable> unreachable_rules(const RuleBook& book);

/// Whether that takes some 50 ms at most.
bool is_quickly_searched(const RuleBook& book);

} // namespace evnf::fw
