// SPDX-License-Identifier: MIT
/// The live rules, kept to be asked about: `fw explain` and `fw unused`. Knows no kernel.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "live_set.hpp"
#include "rules.hpp"

namespace evnf::fw {

/// A condition on addresses as a rule has it. Rules with equal ones share it where it has sets or is long.
struct SharedAddresses {
    Addresses addresses;
    std::vector<std::shared_ptr<const LiveSet>> sets; ///< of addresses.sets; they may change

    bool holds(const Address& address) const;
    /// Of the condition and its sets, as they are now.
    std::vector<Prefix> prefixes() const;
    std::size_t size() const;
};
using AddressCondition = std::shared_ptr<const SharedAddresses>;

struct BookRule {
    Rule rule; ///< without src and dst
    AddressCondition src, dst; ///< null: no condition
};

/// Names of ports by their index; empty where there is none.
using PortNames = std::vector<std::string>;

struct RuleBook {
    std::vector<BookRule> rules;
    fw_action fallback = FW_NETFILTER;
    PortNames ports;
    bool tracks = false; ///< connections
};

/// `sets` has all that the rules name.
RuleBook make_rule_book(Policy policy, PortNames ports, const NamedSets& sets);
PortNames port_names(const Ports& ports);

} // namespace evnf::fw
