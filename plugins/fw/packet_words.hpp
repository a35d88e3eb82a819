// SPDX-License-Identifier: MIT
/// A packet in words, as `fw explain` takes it: "tcp 10.1.0.2:1234 > 10.2.0.2:80 in eth0".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "rule_book.hpp"

namespace evnf::fw {

/// What a rule can ask of a packet. Where there is nothing, the words do not say it.
struct DescribedPacket {
    std::uint8_t protocol = 0;
    Address src, dst;
    std::optional<std::uint16_t> sport, dport;
    std::optional<std::uint16_t> in_port; ///< port index
    std::optional<std::uint64_t> mac;     ///< of the source, as in Rule::macs
    std::uint16_t vlan = EVNF_NO_VLAN, inner_vlan = EVNF_NO_VLAN;
    std::uint8_t dscp = 0, tcp_flags = 0, icmp_type = 0, icmp_code = 0;
    evnf_fragment fragment = EVNF_FRAGMENT_NONE;
    fw_state state = FW_STATE_NEW;

    /// As the fast path has it: only in TCP, UDP and SCTP, and not in later fragments.
    bool has_ports() const;
    bool has_flags() const;
    bool has_icmp() const;

    bool operator==(const DescribedPacket&) const = default;
};

/// PROTO SRC[:PORT] > DST[:PORT] [KEY VALUE]…, where `fw/README.md` says which keys there are and what holds without them.
/// Throws std::invalid_argument, which says what cannot be understood.
DescribedPacket read_packet(std::string_view words, const PortNames& ports);

/// The packet in the same words, with what was filled in.
std::string to_words(const DescribedPacket& packet, const PortNames& ports);

} // namespace evnf::fw
