// SPDX-License-Identifier: MIT
/// The Parser: what the entry makes of every shape of packet, and what it refuses by name.
#include <arpa/inet.h>

#include "catch.hpp"
#include "chain.hpp"
#include "packet.hpp"

using namespace evnf::test;

namespace {

/// Nothing but the parser can drop here.
const std::string kOpen = R"(
ports: [{name: eth0, chain: []}]
)";

/// Under a default of drop, only what the parser understood as these gets through.
const std::string kGuarded = R"(
ports: [{name: eth0, chain: [fw]}]
plugins:
  fw:
    default: drop
    rules:
      - {name: web, proto: tcp, dport: 80, action: allow}
      - {name: dns, proto: udp, dport: 53, action: allow}
      - {name: ping, proto: icmp, icmp_type: echo-request, action: allow}
)";

void check_dropped(Chain& chain, const Frame& frame, const std::string& reason,
                   const std::string& stage = "entry")
{
    const auto result = chain.run("eth0", frame);
    INFO(describe(frame));
    CHECK(result.verdict == EVNF_DROP);
    CHECK(result.reason == reason);
    CHECK(result.stage == stage);
}

void check_forwarded(Chain& chain, const Frame& frame)
{
    const auto result = chain.run("eth0", frame);
    INFO(describe(frame) << ", reason " << result.reason << " by " << result.stage);
    CHECK(result.verdict == EVNF_FORWARD);
}

void check_kernel(Chain& chain, const Frame& frame, const std::string& reason)
{
    const auto result = chain.run("eth0", frame);
    INFO(describe(frame));
    CHECK(result.verdict == EVNF_KERNEL);
    CHECK(result.reason == reason);
    CHECK(result.stage == "entry");
}

/// The bytes of a TCP or UDP header to port 80, as payload of something that has no such header.
const Payload kLooksLikeWeb{
    std::string{"\x04\xd2\x00\x50\x00\x00\x00\x01\x00\x00\x00\x00\x50\x02\xff\xff\x00\x00\x00\x00", 20}};
const Payload kData{"0123456789abcdef"};

} // namespace

TEST_CASE("parser: plain TCP and UDP over IPv4 and IPv6 pass")
{
    Chain chain{kGuarded};
    check_forwarded(chain, packet(Eth{}, Ipv4{}, Tcp{.dport = 80, .flags = SYN}));
    check_forwarded(chain, packet(Eth{}, Ipv6{}, Tcp{.dport = 80, .flags = SYN}));
    check_forwarded(chain, packet(Eth{}, Ipv4{}, Udp{.dport = 53}, kData));
    check_forwarded(chain, packet(Eth{}, Ipv6{}, Udp{.dport = 53}, kData));
}

TEST_CASE("parser: every prefix of a good frame is dropped as malformed")
{
    Chain chain{kOpen};
    const std::vector<Frame> good{
        packet(Eth{}, Ipv4{}, Tcp{.options = "\x01\x01\x01\x01"}, kData),
        packet(Eth{}, Vlan{.id = 7}, Ipv4{.options = "\x01\x01\x01\x01"}, Udp{}, kData),
        packet(Eth{}, Vlan{.tpid = 0x88a8}, Vlan{.id = 8}, Ipv6{}, Tcp{}, kData),
        packet(Eth{}, Ipv6{}, HopByHop{}, Routing{}, Fragment{.more = true}, DestOpts{}, Udp{}, kData),
        packet(Eth{}, Ipv6{}, AuthHeader{}, Icmpv6{}, kData),
        packet(Eth{}, Ipv4{}, Sctp{}, kData),
        packet(Eth{}, Ipv4{.protocol = 47}, kData),
    };
    for (const auto& frame : good) {
        INFO(describe(frame));
        CHECK(chain.run("eth0", frame).verdict == EVNF_FORWARD);
        for (std::size_t length = 14; length < frame.size(); ++length) {
            const Frame prefix{frame.begin(), frame.begin() + static_cast<long>(length)};
            if (!chain.can_run("eth0", prefix)) continue;
            const auto result = chain.run("eth0", prefix);
            INFO("first " << length << " bytes: " << result.reason);
            CHECK(result.verdict == EVNF_DROP);
            CHECK(result.reason.starts_with("malformed_"));
        }
    }
}

TEST_CASE("parser: an L4 header that its IP packet has no room for is dropped, padding or not")
{
    Chain chain{kOpen};
    const std::string padding(60, '\0');
    for (std::uint16_t length = 20; length < 40; ++length)
        check_dropped(
            chain,
            packet(Eth{}, Ipv4{.total_length = length, .protocol = 6}, kLooksLikeWeb, Payload{padding}),
            "malformed_l4");
    for (std::uint16_t length = 0; length < 8; ++length)
        check_dropped(
            chain, packet(Eth{}, Ipv6{.payload_length = length, .next = 17}, kLooksLikeWeb, Payload{padding}),
            "malformed_l4");
}

TEST_CASE("parser: padding of a short frame is no payload")
{
    Chain chain{kOpen};
    const auto result = chain.run("eth0", packet(Eth{}, Ipv4{.total_length = 29}, Udp{.length = 9},
                                                 Payload{"x"}, Payload{std::string(17, '\0')}));
    CHECK(result.verdict == EVNF_FORWARD);
    CHECK(result.packet.l3_length == 29);
    CHECK(result.packet.frame_length == 60);
    CHECK(result.packet.payload_offset == 14 + 20 + 8);
}

TEST_CASE("parser: impossible IPv4 headers are dropped")
{
    Chain chain{kOpen};
    check_dropped(chain, packet(Eth{}, Ipv4{.ihl = 4}, Tcp{}), "malformed_ipv4");
    check_dropped(chain, packet(Eth{}, Ipv4{.ihl = 0}, Tcp{}), "malformed_ipv4");
    check_dropped(chain, packet(Eth{}, Ipv4{.ihl = 15}, Udp{}), "malformed_ipv4");
    check_dropped(chain, packet(Eth{}, Ipv4{.total_length = 19}, Tcp{}), "malformed_ipv4");
    check_dropped(chain, packet(Eth{}, Ipv4{.total_length = 41}, Tcp{}), "malformed_ipv4");
    check_dropped(chain, packet(Eth{}, Ipv4{.total_length = 65535}, Tcp{}), "malformed_ipv4");
    check_dropped(chain, packet(Eth{}, Ipv4{.version = 6}, Tcp{}), "malformed_ipv4");
}

TEST_CASE("parser: impossible IPv6 headers are dropped")
{
    Chain chain{kOpen};
    check_dropped(chain, packet(Eth{}, Ipv6{.payload_length = 21}, Tcp{}), "malformed_ipv6");
    check_dropped(chain, packet(Eth{}, Ipv6{.version = 4}, Tcp{}), "malformed_ipv6");
    check_dropped(chain, packet(Eth{}, Ipv6{.src = "::ffff:10.1.0.2"}, Tcp{}), "malformed_ipv6");
    check_dropped(chain, packet(Eth{}, Ipv6{.dst = "::ffff:10.1.0.2"}, Tcp{}), "malformed_ipv6");
    check_dropped(chain, packet(Eth{}, Ipv6{}, DestOpts{.length = 9}, Tcp{}), "malformed_ipv6");
    check_dropped(chain, packet(Eth{}, Ipv6{}, AuthHeader{.length = 200}, Tcp{}), "malformed_ipv6");
}

TEST_CASE("parser: impossible L4 headers are dropped")
{
    Chain chain{kOpen};
    check_dropped(chain, packet(Eth{}, Ipv4{}, Tcp{.data_offset = 4}), "malformed_l4");
    check_dropped(chain, packet(Eth{}, Ipv4{}, Tcp{.data_offset = 6}), "malformed_l4");
    check_dropped(chain, packet(Eth{}, Ipv4{}, Tcp{.data_offset = 15}, kData), "malformed_l4");
    check_dropped(chain, packet(Eth{}, Ipv4{}, Udp{.length = 7}), "malformed_l4");
    check_dropped(chain, packet(Eth{}, Ipv4{}, Udp{.length = 9}), "malformed_l4");
    check_dropped(chain, packet(Eth{}, Ipv6{}, Udp{.length = 0}), "malformed_l4");
}

TEST_CASE("parser: IPv4 options do not shift the ports")
{
    Chain chain{kGuarded};
    // With ihl ignored, the ports would be read from the options: here they spell port 80.
    check_dropped(chain, packet(Eth{}, Ipv4{.options = std::string{"\x04\xd2\x00\x50", 4}}, Tcp{.dport = 22}),
                  "default", "fw");
    for (std::size_t words = 1; words <= 10; ++words)
        check_forwarded(chain,
                        packet(Eth{}, Ipv4{.options = std::string(words * 4, '\x01')}, Tcp{.dport = 80}));
}

TEST_CASE("parser: payload of a later fragment is never read as ports")
{
    Chain chain{kGuarded};
    check_dropped(chain, packet(Eth{}, Ipv4{.fragment_offset = 3, .protocol = 6}, kLooksLikeWeb), "default",
                  "fw");
    check_dropped(chain, packet(Eth{}, Ipv6{}, Fragment{.offset = 3, .next = 6}, kLooksLikeWeb), "default",
                  "fw");
    Chain open{kOpen};
    const auto result =
        open.run("eth0", packet(Eth{}, Ipv6{}, Fragment{.offset = 3, .next = 6}, kLooksLikeWeb));
    CHECK(result.packet.fragment == EVNF_FRAGMENT_LATER);
    CHECK(result.packet.protocol == 6);
    CHECK(result.packet.sport == 0);
    CHECK(result.packet.dport == 0);
    CHECK(result.packet.tcp_flags == 0);
}

TEST_CASE("parser: a first fragment has its ports")
{
    Chain chain{kGuarded};
    check_forwarded(chain,
                    packet(Eth{}, Ipv4{.more_fragments = true}, Udp{.dport = 53, .length = 2000}, kData));
    check_forwarded(chain,
                    packet(Eth{}, Ipv6{}, Fragment{.more = true}, Udp{.dport = 53, .length = 2000}, kData));
    check_dropped(chain, packet(Eth{}, Ipv4{.more_fragments = true}, Tcp{.dport = 22}, kData), "default",
                  "fw");
}

TEST_CASE("parser: the reserved byte of an IPv6 fragment header is no length")
{
    Chain chain{kGuarded};
    for (const unsigned reserved : {1u, 2u, 0x80u, 0xffu}) {
        const Fragment fragment{.reserved = static_cast<std::uint8_t>(reserved)};
        check_forwarded(chain, packet(Eth{}, Ipv6{}, fragment, Tcp{.dport = 80}));
        check_dropped(chain, packet(Eth{}, Ipv6{}, fragment, Tcp{.dport = 22}, kLooksLikeWeb), "default",
                      "fw");
    }
}

TEST_CASE("parser: what follows a later fragment's header is not walked")
{
    Chain chain{kOpen};
    const auto result = chain.run("eth0", packet(Eth{}, Ipv6{}, Fragment{.offset = 100, .next = 43}, kData));
    CHECK(result.verdict == EVNF_FORWARD);
    CHECK(result.packet.protocol == 43);
    CHECK(result.packet.l4_offset == 14 + 40 + 8);
}

TEST_CASE("parser: a fragment stays one behind a second fragment header")
{
    Chain chain{kOpen};
    const auto result = chain.run(
        "eth0", packet(Eth{}, Ipv6{}, Fragment{.more = true}, Fragment{}, Udp{.length = 2000}, kData));
    CHECK(result.verdict == EVNF_FORWARD);
    CHECK(result.packet.fragment == EVNF_FRAGMENT_FIRST);
}

TEST_CASE("parser: tiny fragments are dropped (RFC 1858, RFC 3128)")
{
    Chain chain{kOpen};
    for (const std::size_t size : {0u, 8u, 16u, 19u})
        check_dropped(chain,
                      packet(Eth{}, Ipv4{.more_fragments = true, .protocol = 6},
                             Payload{kLooksLikeWeb.text.substr(0, size)}),
                      "tiny_fragment");
    check_dropped(chain, packet(Eth{}, Ipv4{.fragment_offset = 1, .protocol = 6}, kLooksLikeWeb),
                  "tiny_fragment");
    check_dropped(chain, packet(Eth{}, Ipv6{}, Fragment{.more = true, .next = 6}, kData), "tiny_fragment");
    check_forwarded(chain, packet(Eth{}, Ipv4{.fragment_offset = 1, .protocol = 17}, kData));
}

TEST_CASE("parser: VLAN-tagged traffic is filtered like any other")
{
    Chain chain{kGuarded};
    check_dropped(chain, packet(Eth{}, Vlan{.id = 7}, Ipv4{}, Tcp{.dport = 22}), "default", "fw");
    check_dropped(chain,
                  packet(Eth{}, Vlan{.id = 7, .tpid = 0x88a8}, Vlan{.id = 8}, Ipv6{}, Tcp{.dport = 22}),
                  "default", "fw");
    check_forwarded(chain, packet(Eth{}, Vlan{.id = 7}, Ipv4{}, Tcp{.dport = 80}));
    check_forwarded(chain,
                    packet(Eth{}, Vlan{.id = 7, .tpid = 0x88a8}, Vlan{.id = 8}, Ipv6{}, Tcp{.dport = 80}));
}

TEST_CASE("parser: VLAN ids are read outer first, without the priority")
{
    Chain chain{kOpen};
    const auto two = chain.run(
        "eth0", packet(Eth{}, Vlan{.id = 4094, .priority = 7, .tpid = 0x88a8}, Vlan{.id = 8}, Ipv4{}, Tcp{}));
    CHECK(two.packet.vlan_tags == 2);
    CHECK(two.packet.vlan[0] == 4094);
    CHECK(two.packet.vlan[1] == 8);
    const auto none = chain.run("eth0", packet(Eth{}, Ipv4{}, Tcp{}));
    CHECK(none.packet.vlan_tags == 0);
    CHECK(none.packet.vlan[0] == EVNF_NO_VLAN);
}

TEST_CASE("parser: a third VLAN tag is dropped by name")
{
    Chain chain{kOpen};
    check_dropped(chain, packet(Eth{}, Vlan{}, Vlan{}, Vlan{}, Ipv4{}, Tcp{.dport = 80}),
                  "too_many_vlan_tags");
}

TEST_CASE("parser: protocols without ports reach the firewall's default")
{
    Chain chain{kGuarded};
    for (const unsigned protocol : {2u, 47u, 50u, 51u, 89u, 115u, 253u, 255u}) {
        const auto number = static_cast<std::uint8_t>(protocol);
        check_dropped(chain, packet(Eth{}, Ipv4{.protocol = number}, kLooksLikeWeb), "default", "fw");
        if (number != 51)
            check_dropped(chain, packet(Eth{}, Ipv6{.next = number}, kLooksLikeWeb), "default", "fw");
    }
    // ICMP over IPv6 and ICMPv6 over IPv4 are no ICMP.
    check_dropped(chain, packet(Eth{}, Ipv6{.next = 1}, Icmp{}), "default", "fw");
    check_dropped(chain, packet(Eth{}, Ipv4{.protocol = 58}, Icmpv6{}), "default", "fw");
}

TEST_CASE("parser: extension headers hide nothing from the firewall")
{
    Chain chain{kGuarded};
    check_forwarded(chain, packet(Eth{}, Ipv6{}, HopByHop{}, DestOpts{}, Routing{}, AuthHeader{}, DestOpts{},
                                  Tcp{.dport = 80}));
    check_dropped(
        chain,
        packet(Eth{}, Ipv6{}, HopByHop{}, DestOpts{}, Routing{}, AuthHeader{}, DestOpts{}, Tcp{.dport = 22}),
        "default", "fw");
    check_dropped(chain, packet(Eth{}, Ipv6{}, DestOpts{.options = kLooksLikeWeb.text}, Tcp{.dport = 22}),
                  "default", "fw");
}

TEST_CASE("parser: eight extension headers are walked, the ninth drops the packet by name")
{
    Chain chain{kOpen};
    std::vector<Layer> layers{Eth{}, Ipv6{}};
    for (int i = 0; i < 8; ++i) layers.emplace_back(DestOpts{});
    auto nine = layers;
    nine.emplace_back(DestOpts{});
    layers.emplace_back(Tcp{.dport = 80});
    nine.emplace_back(Tcp{.dport = 80});
    const auto result = chain.run("eth0", build(layers));
    CHECK(result.verdict == EVNF_FORWARD);
    CHECK(ntohs(result.packet.dport) == 80);
    check_dropped(chain, build(nine), "too_many_headers");
}

TEST_CASE("parser: extension headers too long to look behind are dropped by name")
{
    Chain chain{kOpen};
    const DestOpts half{.options = std::string(480, '\0')};
    check_forwarded(chain, packet(Eth{}, Ipv6{}, half, Tcp{}));
    check_dropped(chain, packet(Eth{}, Ipv6{}, half, half, half, Tcp{}), "too_many_headers");
}

TEST_CASE("parser: routing header 0 is dropped by name, other types pass (RFC 5095)")
{
    Chain chain{kOpen};
    check_dropped(chain, packet(Eth{}, Ipv6{}, Routing{.type = 0}, Tcp{}), "routing_header_0");
    check_dropped(chain, packet(Eth{}, Ipv6{}, DestOpts{}, Routing{.type = 0, .segments_left = 3}, Tcp{}),
                  "routing_header_0");
    check_forwarded(chain, packet(Eth{}, Ipv6{}, Routing{.type = 4}, Tcp{}));
}

TEST_CASE("parser: what is no IP goes to the kernel, also under a default of drop")
{
    Chain chain{kGuarded};
    const Raw arp{{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 1, 0, 2, 0, 0, 0, 0, 0, 0, 10, 1, 0, 1}};
    check_kernel(chain, packet(Eth{.dst = "ff:ff:ff:ff:ff:ff", .type = 0x0806}, arp), "not_ip");
    check_kernel(chain, packet(Eth{.type = 0x88cc}, kData), "not_ip");                         // LLDP
    check_kernel(chain, packet(Eth{.dst = "01:80:c2:00:00:00", .type = 38}, kData), "not_ip"); // STP, 802.3
}

TEST_CASE("parser: neighbour discovery goes to the kernel, from the link only")
{
    Chain chain{kGuarded};
    const Payload target{std::string(16, '\0')};
    for (const unsigned type : {133u, 134u, 135u, 136u, 137u}) {
        const Icmpv6 message{.type = static_cast<std::uint8_t>(type)};
        check_kernel(chain, packet(Eth{}, Ipv6{.hop_limit = 255}, message, target), "control");
        check_dropped(chain, packet(Eth{}, Ipv6{.hop_limit = 254}, message, target), "default", "fw");
    }
    check_dropped(chain, packet(Eth{}, Ipv6{.hop_limit = 255}, Icmpv6{.type = 128}, target), "default", "fw");
    check_dropped(chain, packet(Eth{}, Ipv6{.hop_limit = 255}, Icmpv6{.type = 138}, target), "default", "fw");
}

TEST_CASE("parser: multicast listener messages go to the kernel, from the link only")
{
    Chain chain{kGuarded};
    const Payload group{std::string(16, '\0')};
    for (const unsigned type : {130u, 131u, 132u, 143u}) {
        const Icmpv6 message{.type = static_cast<std::uint8_t>(type)};
        const HopByHop router_alert{.options = std::string{"\x05\x02\x00\x00\x01\x00", 6}};
        check_kernel(chain, packet(Eth{}, Ipv6{.hop_limit = 1}, router_alert, message, group), "control");
        check_dropped(chain, packet(Eth{}, Ipv6{.hop_limit = 2}, router_alert, message, group), "default",
                      "fw");
    }
}

TEST_CASE("parser: answers of a DHCP server go to the kernel, other DHCP ports do not")
{
    Chain chain{kGuarded};
    check_kernel(chain, packet(Eth{}, Ipv4{}, Udp{.sport = 67, .dport = 68}, kData), "control");
    check_kernel(chain, packet(Eth{}, Ipv6{}, Udp{.sport = 547, .dport = 546}, kData), "control");
    check_dropped(chain, packet(Eth{}, Ipv4{}, Udp{.sport = 68, .dport = 67}, kData), "default", "fw");
    check_dropped(chain, packet(Eth{}, Ipv4{}, Udp{.sport = 547, .dport = 546}, kData), "default", "fw");
    check_dropped(chain, packet(Eth{}, Ipv6{}, Udp{.sport = 67, .dport = 68}, kData), "default", "fw");
    check_dropped(chain, packet(Eth{}, Ipv4{.more_fragments = true}, Udp{.sport = 67, .dport = 68}, kData),
                  "default", "fw");
    check_dropped(chain, packet(Eth{}, Ipv4{}, Tcp{.sport = 67, .dport = 68}), "default", "fw");
}
