// SPDX-License-Identifier: MIT
/// The firewall's action reject: what the sender gets to read, byte by byte.
#include <boost/json.hpp>

#include "catch.hpp"
#include "chain.hpp"
#include "packet.hpp"

using namespace evnf::test;

namespace {

constexpr const char* kRejects = "ports: [{name: a, chain: [fw]}]\nplugins: {fw: {default: drop, rules: [{name: no, action: reject}]}}\n";

/// What goes back: with the addresses of the frame's stations exchanged.
const Eth kBack{.dst = "02:00:00:00:00:02", .src = "02:00:00:00:00:01"};

Ipv4 back4()
{
    return {.src = "10.2.0.2", .dst = "10.1.0.2", .dont_fragment = true};
}
Ipv6 back6()
{
    return {.src = "2001:db8:2::2", .dst = "2001:db8:1::2"};
}

/// Of the frame's first `size` bytes behind `link` bytes of link header.
Raw quoted(const Frame& frame, std::size_t size, std::size_t link = 14)
{
    Raw raw;
    for (std::size_t i = link; i < std::min(frame.size(), link + size); ++i) raw.bytes.push_back(std::to_integer<std::uint8_t>(frame[i]));
    return raw;
}

Frame error4(const Frame& frame, std::uint8_t code, std::size_t size = 548)
{
    auto ip = back4();
    ip.tos = 0xc0;
    return packet(kBack, ip, Icmp{.type = 3, .code = code}, quoted(frame, size));
}
Frame error6(const Frame& frame, std::uint8_t code, std::size_t size = 1232)
{
    return packet(kBack, back6(), Icmpv6{.type = 1, .code = code}, quoted(frame, size));
}

void is_answered(Chain& chain, const Frame& frame, const Frame& wanted)
{
    const auto result = chain.run("a", frame);
    INFO(describe(frame) << "\nwanted " << describe(wanted) << "\ngot    " << describe(result.frame));
    CHECK(result.verdict == EVNF_REPLY);
    CHECK(result.reason == "none");
    CHECK(result.stage == "fw");
    CHECK(checksums_ok(result.frame));
    CHECK(result.frame == wanted);
}

void is_dropped(Chain& chain, const Frame& frame)
{
    const auto result = chain.run("a", frame);
    INFO(describe(frame));
    CHECK(result.verdict == EVNF_DROP);
    CHECK(result.reason == "rule");
}

} // namespace

TEST_CASE("fw: reject: a reset answers what a segment asked")
{
    Chain chain{kRejects};
    const Payload text{"GET / HTTP/1.0\r\n\r\n"}; // 18 bytes
    const auto reset = [](std::uint32_t seq, std::uint32_t ack, std::uint8_t flags) {
        return Tcp{.sport = 80, .dport = 1234, .seq = seq, .ack = ack, .flags = flags, .window = 0};
    };
    struct Expected {
        Tcp segment;
        bool has_text;
        Tcp answer;
    };
    for (const auto& [segment, has_text, answer] :
         {Expected{{.seq = 1000, .flags = SYN}, false, reset(0, 1001, RST | ACK)},
          Expected{{.seq = 1000, .flags = SYN}, true, reset(0, 1019, RST | ACK)},
          Expected{{.seq = 0xffffffff, .flags = SYN}, false, reset(0, 0, RST | ACK)},
          Expected{{.seq = 1000, .flags = SYN, .options = std::string("\2\4\5\264\4\2\10\12\0\0\0\1\0\0\0\0\1\3\3\7", 20)}, false, reset(0, 1001, RST | ACK)},
          Expected{{.seq = 1000, .flags = FIN}, true, reset(0, 1019, RST | ACK)},
          Expected{{.seq = 1000, .flags = SYN | FIN}, false, reset(0, 1002, RST | ACK)},
          Expected{{.seq = 1000, .flags = 0}, true, reset(0, 1018, RST | ACK)},
          Expected{{.seq = 1000, .ack = 777, .flags = ACK}, false, reset(777, 0, RST)},
          Expected{{.seq = 1000, .ack = 0x80000001, .flags = ACK | PSH}, true, reset(0x80000001, 0, RST)},
          Expected{{.seq = 1000, .ack = 777, .flags = SYN | ACK}, false, reset(777, 0, RST)},
          Expected{{.seq = 1000, .ack = 777, .flags = FIN | ACK}, false, reset(777, 0, RST)}}) {
        const auto v4 = has_text ? packet(Eth{}, Ipv4{}, segment, text) : packet(Eth{}, Ipv4{}, segment);
        const auto v6 = has_text ? packet(Eth{}, Ipv6{}, segment, text) : packet(Eth{}, Ipv6{}, segment);
        is_answered(chain, v4, packet(kBack, back4(), answer));
        is_answered(chain, v6, packet(kBack, back6(), answer));
    }
}

TEST_CASE("fw: reject: options and extension headers are not in the reset, nor the frame's padding in what it acknowledges")
{
    Chain chain{kRejects};
    const Tcp syn{.seq = 5, .flags = SYN}, answer{.sport = 80, .dport = 1234, .seq = 0, .ack = 6, .flags = RST | ACK, .window = 0};
    is_answered(chain, packet(Eth{}, Ipv4{.tos = 0xb8, .options = std::string(40, '\1')}, syn), packet(kBack, back4(), answer));
    is_answered(chain, packet(Eth{}, Ipv6{.traffic_class = 0xb8}, HopByHop{}, DestOpts{}, syn), packet(kBack, back6(), answer));
    is_answered(chain, packet(Eth{}, Ipv4{.total_length = 40}, syn, Payload{std::string(6, '\0')}), packet(kBack, back4(), answer));
}

TEST_CASE("fw: reject: a first fragment is answered")
{
    Chain chain{kRejects};
    is_answered(chain, packet(Eth{}, Ipv4{.more_fragments = true}, Tcp{.seq = 5, .flags = SYN}, Payload{"12345678"}),
                packet(kBack, back4(), Tcp{.sport = 80, .dport = 1234, .seq = 0, .ack = 14, .flags = RST | ACK, .window = 0}));
    const auto udp = packet(Eth{}, Ipv6{}, Fragment{.more = true}, Udp{}, Payload{"12345678"});
    is_answered(chain, udp, error6(udp, 4));
}

TEST_CASE("fw: reject: where there are ports, none is reachable")
{
    Chain chain{kRejects};
    for (const std::size_t size : {0, 1, 2, 3, 4, 17, 100, 511, 518, 519, 520, 521, 522, 523, 1000}) {
        INFO(size << " bytes");
        const Payload text{std::string(size, 'x')};
        const auto udp4 = packet(Eth{}, Ipv4{}, Udp{}, text), udp6 = packet(Eth{}, Ipv6{}, Udp{}, text);
        is_answered(chain, udp4, error4(udp4, 3));
        is_answered(chain, udp6, error6(udp6, 4));
    }
    const auto sctp4 = packet(Eth{}, Ipv4{}, Sctp{}), sctp6 = packet(Eth{}, Ipv6{}, Sctp{});
    is_answered(chain, sctp4, error4(sctp4, 3));
    is_answered(chain, sctp6, error6(sctp6, 4));
}

TEST_CASE("fw: reject: an error is as long as it may be, and no longer")
{
    Chain chain{kRejects};
    const auto v4 = packet(Eth{}, Ipv4{}, Udp{}, Payload{std::string(1400, 'x')});
    const auto v6 = packet(Eth{}, Ipv6{}, Udp{}, Payload{std::string(1400, 'x')});
    is_answered(chain, v4, error4(v4, 3));
    is_answered(chain, v6, error6(v6, 4));
    CHECK(chain.run("a", v4).frame.size() == 14 + 576);
    CHECK(chain.run("a", v6).frame.size() == 14 + 1280);
    const auto long6 = packet(Eth{}, Ipv6{}, Udp{}, Payload{std::string(3000, 'y')});
    is_answered(chain, long6, error6(long6, 4));
}

TEST_CASE("fw: reject: where there are no ports, it is the administrator who does not want it")
{
    Chain chain{kRejects};
    const Raw bytes{{0, 0, 8, 0, 1, 2, 3, 4, 5}};
    for (const std::uint8_t protocol : {47, 50, 89, 253}) {
        const auto v4 = packet(Eth{}, Ipv4{.protocol = protocol}, bytes), v6 = packet(Eth{}, Ipv6{.next = protocol}, bytes);
        is_answered(chain, v4, error4(v4, 13, 29));
        is_answered(chain, v6, error6(v6, 1, 49));
    }
    const auto ping4 = packet(Eth{}, Ipv4{}, Icmp{.type = 8}, Payload{"ping"}), ping6 = packet(Eth{}, Ipv6{}, Icmpv6{.type = 128}, Payload{"ping"});
    is_answered(chain, ping4, error4(ping4, 13));
    is_answered(chain, ping6, error6(ping6, 1));
}

TEST_CASE("fw: reject: the quoted packet is as it came, options, extension headers and odd length included")
{
    Chain chain{kRejects};
    const auto v4 = packet(Eth{}, Ipv4{.ttl = 3, .tos = 4, .id = 99, .options = std::string(40, '\1')}, Udp{}, Payload{"odd"});
    const auto v6 = packet(Eth{}, Ipv6{.hop_limit = 3}, HopByHop{}, DestOpts{.options = std::string(30, '\0')}, Udp{}, Payload{"odd"});
    is_answered(chain, v4, error4(v4, 3));
    is_answered(chain, v6, error6(v6, 4));
    // Padding of a short frame is no part of the packet.
    const auto padded = packet(Eth{}, Ipv4{.total_length = 31}, Udp{.length = 11}, Payload{"odd"}, Payload{std::string(15, 'p')});
    is_answered(chain, padded, error4(padded, 3, 31));
}

TEST_CASE("fw: reject: VLAN tags stay with the answer")
{
    Chain chain{kRejects};
    const Vlan seven{.id = 7, .priority = 5}, service{.id = 8, .tpid = 0x88a8}, nine{.id = 9};
    const Tcp syn{.seq = 5, .flags = SYN}, answer{.sport = 80, .dport = 1234, .seq = 0, .ack = 6, .flags = RST | ACK, .window = 0};
    is_answered(chain, packet(Eth{}, seven, Ipv4{}, syn), packet(kBack, seven, back4(), answer));
    is_answered(chain, packet(Eth{}, service, nine, Ipv6{}, syn), packet(kBack, service, nine, back6(), answer));
    auto tos = back4();
    tos.tos = 0xc0;
    const auto one = packet(Eth{}, seven, Ipv4{}, Udp{}, Payload{"text"}), two = packet(Eth{}, service, nine, Ipv6{}, Udp{}, Payload{"text"});
    is_answered(chain, one, packet(kBack, seven, tos, Icmp{.type = 3, .code = 3}, quoted(one, 548, 18)));
    is_answered(chain, two, packet(kBack, service, nine, back6(), Icmpv6{.type = 1, .code = 4}, quoted(two, 1232, 22)));
}

TEST_CASE("fw: reject: a reset and an error are never answered")
{
    Chain chain{kRejects};
    for (const int bits : {+RST, RST | ACK, RST | SYN, RST | FIN | ACK}) {
        const auto flags = static_cast<std::uint8_t>(bits);
        is_dropped(chain, packet(Eth{}, Ipv4{}, Tcp{.flags = flags}));
        is_dropped(chain, packet(Eth{}, Ipv6{}, Tcp{.flags = flags}));
    }
    const Payload text{std::string(40, 'x')};
    for (const std::uint8_t type : {1, 2, 3, 4, 5, 6, 7, 11, 12, 19, 31, 32, 40, 127, 128, 255}) {
        INFO("type " << +type);
        is_dropped(chain, packet(Eth{}, Ipv4{}, Icmp{.type = type}, text));
    }
    for (const std::uint8_t type : {0, 1, 2, 3, 4, 100, 127, 137}) {
        INFO("type " << +type);
        is_dropped(chain, packet(Eth{}, Ipv6{}, Icmpv6{.type = type}, text));
    }
    for (const std::uint8_t type : {0, 8, 9, 10, 13, 14, 15, 16, 17, 18}) {
        INFO("type " << +type);
        CHECK(chain.run("a", packet(Eth{}, Ipv4{}, Icmp{.type = type}, text)).verdict == EVNF_REPLY);
    }
}

TEST_CASE("fw: reject: a later fragment is never answered")
{
    Chain chain{kRejects};
    const Payload text{std::string(40, 'x')};
    for (const std::uint8_t protocol : {6, 17, 1, 47}) {
        is_dropped(chain, packet(Eth{}, Ipv4{.fragment_offset = 4, .protocol = protocol}, text));
        is_dropped(chain, packet(Eth{}, Ipv6{}, Fragment{.offset = 4, .next = protocol}, text));
    }
}

TEST_CASE("fw: reject: no answer goes to many, to nobody or to oneself, nor in the name of many")
{
    Chain chain{kRejects};
    for (const char* address : {"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"}) {
        INFO(address);
        is_dropped(chain, packet(Eth{}, Ipv4{.src = address}, Udp{}));
        is_dropped(chain, packet(Eth{}, Ipv4{.dst = address}, Udp{}));
        is_dropped(chain, packet(Eth{}, Ipv4{.src = address}, Tcp{.flags = SYN}));
        is_dropped(chain, packet(Eth{}, Ipv4{.dst = address}, Tcp{.flags = SYN}));
    }
    for (const char* address : {"::", "::1", "ff02::1", "ff0e::1"}) {
        INFO(address);
        is_dropped(chain, packet(Eth{}, Ipv6{.src = address}, Udp{}));
        is_dropped(chain, packet(Eth{}, Ipv6{.dst = address}, Udp{}));
        is_dropped(chain, packet(Eth{}, Ipv6{.src = address}, Tcp{.flags = SYN}));
        is_dropped(chain, packet(Eth{}, Ipv6{.dst = address}, Tcp{.flags = SYN}));
    }
    is_dropped(chain, packet(Eth{.dst = "ff:ff:ff:ff:ff:ff"}, Ipv4{.dst = "10.2.0.255"}, Udp{}));
    is_dropped(chain, packet(Eth{.dst = "01:00:5e:00:00:01"}, Ipv4{}, Tcp{.flags = SYN}));
    CHECK(chain.run("a", packet(Eth{}, Ipv6{.src = "::2"}, Udp{})).verdict == EVNF_REPLY);
    CHECK(chain.run("a", packet(Eth{}, Ipv4{.src = "223.255.255.254"}, Udp{})).verdict == EVNF_REPLY);
}

TEST_CASE("fw: reject: other actions leave the frame as it is, and a rejected packet counts as its rule's")
{
    Chain chain{"ports: [{name: a, chain: [fw]}]\nplugins: {fw: {default: next, rules: [{name: no, proto: udp, action: reject}]}}\n"};
    const auto tcp = packet(Eth{}, Ipv4{}, Tcp{.flags = SYN}), udp = packet(Eth{}, Ipv4{}, Udp{});
    CHECK(chain.run("a", tcp).verdict == EVNF_FORWARD);
    CHECK(chain.run("a", tcp).frame == tcp);
    CHECK(chain.run("a", udp).plugins.at("fw").at("rule").as_string() == "no");
    const auto rule = chain.query("fw", "rules").as_array().at(0);
    CHECK(rule.at("action").as_string() == "reject");
    CHECK(rule.at("packets").to_number<int>() == 1);
    CHECK(rule.at("bytes").to_number<std::size_t>() == udp.size());
    CHECK(chain.stats().at("ports").at(0).at("reply").to_number<int>() == 1);
}

TEST_CASE("fw: reject: no more answers are given than 1000 at once")
{
    Chain chain{kRejects};
    const auto syn = packet(Eth{}, Ipv4{}, Tcp{.flags = SYN});
    int answers = 0, refused = 0, runs = 0;
    while (refused == 0 && runs++ < 20000) {
        const auto result = chain.run("a", syn);
        answers += result.verdict == EVNF_REPLY;
        if (result.verdict != EVNF_DROP) continue;
        CHECK(result.reason == "reject_limit");
        CHECK(result.frame == syn);
        ++refused;
    }
    // A run takes some microseconds, and each millisecond earns one more answer.
    CHECK(refused == 1);
    CHECK(answers >= 1000);
    CHECK(answers < 10000);
}
