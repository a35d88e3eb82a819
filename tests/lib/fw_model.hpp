// SPDX-License-Identifier: MIT
/// The firewall as its documentation says: rules tried one after the other. The oracle for the
/// product's tables; it shares no code with them.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "packet.hpp"
#include "reference_parser.hpp"

namespace evnf::test {

inline constexpr unsigned kIcmp = 1, kTcp = 6, kUdp = 17, kGre = 47, kEsp = 50, kIcmpv6 = 58, kSctp = 132;

struct FwNetwork {
    std::string text;   ///< "10.1.0.0/16"
    std::string bytes; ///< the address, 4 or 16 bytes
    unsigned length = 0;
};

/// A condition on an address: a list, or the set of that name with these networks.
struct FwAddresses {
    std::vector<FwNetwork> networks;
    bool negated = false;
    std::string set;
};

struct FwIcmpType {
    unsigned type = 0;
    std::optional<unsigned> code;
};

/// yes: first or later.
enum class FwFragment { any, yes, no, first, later };

/// Empty lists are no condition.
struct FwModelRule {
    std::string name, action;
    FwAddresses src, dst;
    std::vector<std::pair<unsigned, unsigned>> sport, dport;
    std::vector<unsigned> protocols, vlans, inner_vlans, dscps;
    std::vector<FwIcmpType> icmp_types;
    std::vector<std::string> src_macs; ///< "02:00:00:00:00:02", in small letters
    FwFragment fragment = FwFragment::any;
    unsigned flags_set = 0, flags_clear = 0;
    std::vector<std::string> in_ports, states;
    bool names_protocols = false; ///< in YAML; else they are numbers
};

/// True where the address, of 4 or 16 bytes, meets the condition.
bool fw_address_fits(const FwAddresses& wanted, const std::string& address);

/// True where the packet, come in at `port` and of that state to the connections, meets every condition of the rule.
bool fw_matches(const FwModelRule& rule, const Parsed& packet, const std::string& port, const std::string& state = "new");

/// The first rule that matches, "default" where none does. No rule may ask for a state.
std::string fw_decides(const std::vector<FwModelRule>& rules, const Parsed& packet, const std::string& port);

/// The rule in YAML's flow style, without the networks of its sets.
std::string fw_rule_text(const FwModelRule& rule);

/// The settings of an instance of fw with these rules, in YAML's flow style: one line. `more` are further ones.
std::string fw_settings(const std::vector<FwModelRule>& rules, const std::string& fallback, const std::string& more = "");

} // namespace evnf::test
