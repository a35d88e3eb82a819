// SPDX-License-Identifier: MIT
/// The packet literals and oracles themselves, against bytes that other tools made.
#include "packet.hpp"
#include "catch.hpp"
#include "checksum.hpp"
#include "reference_parser.hpp"

using namespace evnf::test;

namespace {

Frame bytes(std::initializer_list<unsigned> values)
{
    Frame frame;
    for (const unsigned value : values) frame.push_back(static_cast<std::byte>(value));
    return frame;
}

} // namespace

TEST_CASE("packet: checksums have their published check values")
{
    // RFC 1071, section 3: the words 0001 f203 f4f5 f6f7 sum up to ddf2.
    CHECK(internet_checksum(std::string_view{"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 8}) == 0x220d);
    CHECK(internet_checksum(std::string_view{"\x01", 1}) == 0xfeff);
    CHECK(crc32c("123456789") == 0xe3069283);
}

TEST_CASE("packet: an ICMP echo is byte for byte what RFC 792 describes")
{
    const auto frame = packet(Eth{}, Ipv4{.src = "192.168.0.1", .dst = "192.168.0.199", .id = 0x1c46},
                              Icmp{.rest = 0x00010002}, Payload{"ab"});
    CHECK(frame == bytes({0x02, 0, 0,    0,    0,    1,    0x02, 0, 0,   0,  0,    2,    0x08, 0x00, //
                          0x45, 0, 0,    30,   0x1c, 0x46, 0,    0, 64,  1,  0xdc, 0x80, 192,  168,
                          0,    1, 192,  168,  0,    199, //
                          8,    0, 0x96, 0x9a, 0,    1,    0,    2, 'a', 'b'}));
    CHECK(checksums_ok(frame));
}

TEST_CASE("packet: every literal is well formed and its checksums hold")
{
    const Payload data{"seven b"};
    const Ipv4 v4{};
    const Ipv6 v6{};
    const std::vector<Frame> frames{
        packet(Eth{}, v4, Tcp{.options = "\x02\x04\x05\xb4"}, data),
        packet(Eth{}, v4, Udp{}, data),
        packet(Eth{}, v4, Sctp{}, data),
        packet(Eth{}, v4, Icmp{}, data),
        packet(Eth{}, Ipv4{.options = "\x07\x04\x04"}, Udp{}, data),
        packet(Eth{}, Vlan{.id = 7}, v4, Udp{}, data),
        packet(Eth{}, Vlan{.id = 7, .tpid = 0x88a8}, Vlan{.id = 8}, v6, Udp{}, data),
        packet(Eth{}, v6, Tcp{}, data),
        packet(Eth{}, v6, Sctp{}, data),
        packet(Eth{}, v6, Icmpv6{}, data),
        packet(Eth{}, v6, HopByHop{}, DestOpts{}, Routing{}, AuthHeader{}, DestOpts{}, Udp{}, data),
        packet(Eth{}, v4, Icmp{.type = 3, .code = 4}, Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2"}, Tcp{}),
    };
    for (const auto& frame : frames) {
        INFO(describe(frame));
        CHECK(reference_parse(frame).problem.empty());
        CHECK(checksums_ok(frame));
    }
}

TEST_CASE("packet: a changed byte anywhere under a checksum is noticed")
{
    const auto good = packet(Eth{}, Ipv4{}, Tcp{}, Payload{"hello"});
    for (std::size_t i = 14; i < good.size(); ++i) {
        auto bad = good;
        bad[i] ^= std::byte{0x10};
        INFO("byte " << i);
        CHECK_FALSE(checksums_ok(bad));
    }
}

TEST_CASE("packet: a UDP checksum of zero is good in IPv4 only")
{
    CHECK(checksums_ok(packet(Eth{}, Ipv4{}, Udp{.checksum = 0}, Payload{"x"})));
    CHECK_FALSE(checksums_ok(packet(Eth{}, Ipv6{}, Udp{.checksum = 0}, Payload{"x"})));
}

TEST_CASE("packet: what is given is written, right or wrong")
{
    const auto frame = packet(Eth{.type = 0x1234}, Ipv4{.ihl = 3, .total_length = 9, .checksum = 0xabcd});
    CHECK(frame[12] == std::byte{0x12});
    CHECK(frame[14] == std::byte{0x43});
    CHECK(frame[17] == std::byte{9});
    CHECK(frame[24] == std::byte{0xab});
}

TEST_CASE("packet: the reference parser finds the L4 header behind extension headers")
{
    const auto parsed = reference_parse(packet(
        Eth{}, Ipv6{}, HopByHop{}, Fragment{.more = true, .reserved = 0xff}, Udp{.sport = 5, .dport = 6}));
    CHECK(parsed.problem.empty());
    CHECK(parsed.l4_offset == 14 + 40 + 8 + 8);
    CHECK(parsed.first_fragment);
    CHECK(parsed.options);
    CHECK(parsed.dport == 6);
}

TEST_CASE("packet: describe prints one line")
{
    CHECK(describe(packet(Eth{}, Vlan{.id = 7}, Ipv4{}, Tcp{.flags = SYN | ACK})) ==
          "vlan 7 10.1.0.2:1234 > 10.2.0.2:80 tcp SA ttl 64, 58 bytes");
}
