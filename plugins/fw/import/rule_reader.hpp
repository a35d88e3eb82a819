// SPDX-License-Identifier: MIT
/// One rule of iptables: what packets it is about, and what becomes of them.
#pragma once

#include <set>
#include <string>

#include "conditions.hpp"
#include "save_file.hpp"

namespace evnf::fw::iptables {

enum class Verdict {
    none,      ///< the rule only counts, or does what changes neither packet nor verdict: LOG, MARK, …
    allow,
    drop,
    reject,
    netfilter, ///< a target that only netfilter has
    leave,     ///< RETURN
    jump,
    go,        ///< -g: what the chain does not decide, the caller of this one goes on with
};

struct Translation {
    Alternatives matches;
    std::string unmatched; ///< the conditions that `matches` leave out, so that they are more than the rule's; or nothing
    Verdict verdict = Verdict::none;
    std::string target; ///< the chain of a jump; the target's name
    std::string unsupported; ///< why the target is netfilter's, or nothing

    bool stays() const { return !unmatched.empty() || !unsupported.empty(); }
};

/// What the rules are read for.
struct Scope {
    Family family = Family::v4;
    const Table* table = nullptr;
    NameSet ports; ///< those of eVNF; nothing: not known
};

/// Throws FileError.
Translation read_rule(const SavedRule& rule, const Scope& scope);

} // namespace evnf::fw::iptables
