// SPDX-License-Identifier: MIT
/// Packets as literals:
///
///     packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Tcp{.dport = 80, .flags = SYN}, Payload{"hello"})
///
/// Lengths, types of the next header and checksums are filled in unless given; what is given is
/// written as it is, right or wrong. Nothing here shares code with the product: it is the oracle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace evnf::test {

using Frame = std::vector<std::byte>;

inline constexpr std::uint8_t FIN = 0x01, SYN = 0x02, RST = 0x04, PSH = 0x08, ACK = 0x10, URG = 0x20;

struct Eth {
    std::string dst = "02:00:00:00:00:01";
    std::string src = "02:00:00:00:00:02";
    std::optional<std::uint16_t> type = {};
};

struct Vlan {
    std::uint16_t id = 1;
    std::uint8_t priority = 0;
    std::uint16_t tpid = 0x8100; ///< 0x88a8 for the outer tag of 802.1ad
    std::optional<std::uint16_t> type = {};
};

struct Ipv4 {
    std::string src = "10.1.0.2";
    std::string dst = "10.2.0.2";
    std::uint8_t ttl = 64;
    std::uint8_t tos = 0;
    std::uint16_t id = 0;
    bool dont_fragment = false;
    bool more_fragments = false;
    std::uint16_t fragment_offset = 0; ///< in units of 8 bytes
    std::string options = {};          ///< padded with zeros to a multiple of 4
    std::uint8_t version = 4;
    std::optional<std::uint8_t> ihl = {};
    std::optional<std::uint16_t> total_length = {};
    std::optional<std::uint8_t> protocol = {};
    std::optional<std::uint16_t> checksum = {};
};

struct Ipv6 {
    std::string src = "2001:db8:1::2";
    std::string dst = "2001:db8:2::2";
    std::uint8_t hop_limit = 64;
    std::uint8_t traffic_class = 0;
    std::uint32_t flow_label = 0;
    std::uint8_t version = 6;
    std::optional<std::uint16_t> payload_length = {};
    std::optional<std::uint8_t> next = {};
};

struct HopByHop {
    std::string options = {}; ///< padded with Pad1 to the next multiple of 8
    std::optional<std::uint8_t> length = {};
    std::optional<std::uint8_t> next = {};
};

struct DestOpts {
    std::string options = {};
    std::optional<std::uint8_t> length = {};
    std::optional<std::uint8_t> next = {};
};

struct Routing {
    std::uint8_t type = 2;
    std::uint8_t segments_left = 0;
    std::string data = std::string(4, '\0'); ///< behind the 4 fixed bytes
    std::optional<std::uint8_t> length = {};
    std::optional<std::uint8_t> next = {};
};

struct Fragment {
    std::uint16_t offset = 0; ///< in units of 8 bytes
    bool more = false;
    std::uint32_t id = 1;
    std::uint8_t reserved = 0;
    std::optional<std::uint8_t> next = {};
};

struct AuthHeader {
    std::uint32_t spi = 1;
    std::uint32_t sequence = 1;
    std::string icv = std::string(12, '\0');
    std::optional<std::uint8_t> length = {};
    std::optional<std::uint8_t> next = {};
};

struct Tcp {
    std::uint16_t sport = 1234;
    std::uint16_t dport = 80;
    std::uint32_t seq = 1;
    std::uint32_t ack = 0;
    std::uint8_t flags = ACK;
    std::uint16_t window = 65535;
    std::uint16_t urgent = 0;
    std::string options = {};
    std::optional<std::uint8_t> data_offset = {}; ///< in units of 4 bytes
    std::optional<std::uint16_t> checksum = {};
};

struct Udp {
    std::uint16_t sport = 1234;
    std::uint16_t dport = 53;
    std::optional<std::uint16_t> length = {};
    std::optional<std::uint16_t> checksum = {};
};

struct Sctp {
    std::uint16_t sport = 1234;
    std::uint16_t dport = 80;
    std::uint32_t tag = 1;
    std::optional<std::uint32_t> checksum = {};
};

struct Icmp {
    std::uint8_t type = 8;
    std::uint8_t code = 0;
    std::uint32_t rest = 0; ///< identifier and sequence number, MTU, …
    std::optional<std::uint16_t> checksum = {};
};

struct Icmpv6 {
    std::uint8_t type = 128;
    std::uint8_t code = 0;
    std::uint32_t rest = 0;
    std::optional<std::uint16_t> checksum = {};
};

struct Payload {
    std::string text;
};

struct Raw {
    std::vector<std::uint8_t> bytes;
};

using Layer = std::variant<Eth, Vlan, Ipv4, Ipv6, HopByHop, DestOpts, Routing, Fragment, AuthHeader, Tcp, Udp,
                           Sctp, Icmp, Icmpv6, Payload, Raw>;

Frame build(const std::vector<Layer>& layers);

template <class... Layers>
Frame packet(const Layers&... layers)
{
    return build({Layer{layers}...});
}

/// Recomputes the checksums of the IP header and, where the packet is no fragment, of TCP, UDP,
/// SCTP, ICMP or ICMPv6. A UDP checksum of 0 is good in IPv4 only. False for what cannot be parsed.
bool checksums_ok(const Frame& frame);

/// One line: "10.1.0.2:1234 > 10.2.0.2:80 tcp SA ttl 64, 58 bytes".
std::string describe(const Frame& frame);

} // namespace evnf::test
