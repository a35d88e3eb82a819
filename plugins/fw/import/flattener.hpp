// SPDX-License-Identifier: MIT
/// The chain FORWARD, and the chains that it jumps to, as one list of decisions: the first that a packet meets is its own.
#pragma once

#include <map>
#include <vector>

#include "rule_reader.hpp"

namespace evnf::fw::iptables {

struct Decision {
    Conditions conditions;
    Verdict verdict = Verdict::netfilter; ///< allow, drop, reject or netfilter
    const SavedRule* rule = nullptr;      ///< null: the policy of FORWARD
};

/// Rules, of Scope::table, that netfilter must go on having, and why.
using Remainder = std::map<const SavedRule*, std::string>;

struct Flattened {
    std::vector<Decision> decisions;
    Remainder stays;
    std::set<const Chain*> chains;       ///< FORWARD, and those that it jumps to
    std::set<const SavedRule*> reached; ///< those that some packet gets to in the fast path
    bool complete = true; ///< false: a rule stays that any packet may match, so that the decisions end with it
};

inline constexpr std::size_t kMostDecisions = 16'000;

/// Throws FileError where the table has no FORWARD, or chains that jump in a circle.
Flattened flatten(const Scope& scope, std::size_t most_decisions = kMostDecisions);

} // namespace evnf::fw::iptables
