// SPDX-License-Identifier: MIT
/// The live rules, kept to be asked about: `fw explain` and `fw unused`. Knows no kernel.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rules.hpp"

namespace evnf::fw {

/// A condition on addresses as a rule has it. Rules with equal ones share it where it is long: a set may have a million
/// prefixes, and many rules may name it.
struct SharedAddresses {
    Addresses addresses;
    std::string set; ///< the name of the set that it is, if it is one
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

RuleBook make_rule_book(Policy policy, PortNames ports);
PortNames port_names(const Ports& ports);

} // namespace evnf::fw
