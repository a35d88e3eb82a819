// SPDX-License-Identifier: MIT
/// The rules as the configuration has them: YAML in, checked rules out. Knows no kernel.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/plugin.hpp>

#include "addresses.hpp"
#include "fw_shared.h"

namespace evnf::fw {

/// Both ends are in it.
struct PortRange {
    std::uint16_t first = 0, last = 0;
};

struct IcmpType {
    std::uint8_t protocol = 0, type = 0;
    std::optional<std::uint8_t> code;
    auto operator<=>(const IcmpType&) const = default;
};

/// Bits that must be set and bits that must be clear; the others do not matter.
struct TcpFlags {
    std::uint8_t set = 0, clear = 0;
};

/// How often a rule may match.
struct Limit {
    std::uint64_t interval_ns = 0; ///< between packets at its rate
    std::uint32_t burst = 0;       ///< packets at once, after a pause
    fw_per per = FW_PER_RULE;
};

/// A packet matches when every condition that is there holds; an empty list is no condition.
struct Rule {
    std::string name;
    fw_action action = FW_DROP;
    std::optional<Addresses> src, dst;
    std::vector<PortRange> sport, dport;
    std::vector<std::uint8_t> protocols;
    std::vector<IcmpType> icmp_types;
    std::optional<TcpFlags> tcp_flags;
    std::vector<std::uint16_t> vlans, inner_vlans;
    std::vector<std::uint16_t> in_ports; ///< port indices
    std::vector<std::uint64_t> macs;     ///< of the source, the first byte in bits 40 to 47
    std::vector<std::uint8_t> dscps;
    std::optional<std::uint8_t> fragments; ///< a bit for each enum evnf_fragment
    std::optional<std::uint8_t> states;    ///< a bit for each enum fw_state
    std::optional<Limit> limit;
    bool log = false;
};

/// How connections are remembered, where rules ask for their state.
struct Tracking {
    std::uint32_t max_connections = 1'000'000;
    std::uint32_t max_half_open = 262'144;
    bool loose = false; ///< a TCP connection may begin with any segment
    std::chrono::milliseconds syn = std::chrono::seconds{30}, established = std::chrono::hours{2}, fin = std::chrono::seconds{30},
                              udp = std::chrono::seconds{60}, icmp = std::chrono::seconds{30}, other = std::chrono::minutes{10};
};

/// Sources, destinations and flows that limits are kept of, unless `limits.max` says otherwise.
inline constexpr std::uint32_t kDefaultMaxLimits = 65536;

struct Policy {
    std::vector<Rule> rules; ///< the first that matches decides
    fw_action fallback = FW_NETFILTER;
    Sets sets; ///< what the configuration says of them
    std::uint32_t max_limits = kDefaultMaxLimits; ///< sources, destinations and flows that limits are kept of
    Tracking tracking;

    /// Whether any packet may be left to the kernel's own firewall.
    bool leaves_to_netfilter() const;
    /// Whether connections must be tracked.
    bool asks_state() const;
    /// Whether any rule has a limit, and one that is not the whole rule's.
    bool has_limits() const;
    bool has_keyed_limits() const;
    bool has_logs() const;
    bool has_rejects() const;
};

/// Name of the default in counters and explanations; no rule may have it.
inline constexpr std::string_view kDefaultName = "default";

/// Reads the settings of an instance; reports every problem.
Policy read_policy(const Node& config, const Ports& ports);

/// The words of the configuration for `action`, of a rule or of the default.
std::string_view action_name(fw_action action);
std::string_view fallback_name(fw_action action);

} // namespace evnf::fw
