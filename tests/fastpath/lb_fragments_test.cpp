// SPDX-License-Identifier: MIT
/// The load balancer and packets without ports: fragments, echo requests, ICMP errors that belong to nobody.
#include "lb_lab.hpp"

using namespace evnf::test;
using namespace evnf::test::lb;

namespace {

Frame first(const char* src, std::uint16_t sport, const char* dst, std::uint16_t dport, std::uint16_t id = 5)
{
    return packet(Eth{}, Ipv4{.src = src, .dst = dst, .id = id, .more_fragments = true},
                  Udp{.sport = sport, .dport = dport, .length = 1008, .checksum = 0},
                  Payload{std::string(504, 'x')});
}

/// Its bytes read as port 53, if they were ports.
Frame later(const char* src, const char* dst, std::uint16_t id = 5, std::uint8_t protocol = IPPROTO_UDP)
{
    return packet(Eth{}, Ipv4{.src = src, .dst = dst, .id = id, .fragment_offset = 64, .protocol = protocol},
                  Payload{std::string{"\x0f\xa0\x00\x35more", 8}});
}

Frame later6(const char* src, const char* dst, std::uint8_t next)
{
    return packet(Eth{}, Ipv6{.src = src, .dst = dst}, Fragment{.offset = 64, .id = 9, .next = next},
                  Payload{"the rest"});
}

} // namespace

TEST_CASE("lb: later fragments follow their first, to the server and back")
{
    Chain chain{config(s1)};
    CHECK(forwarded_as(chain.run("in", first("10.1.0.2", 4000, "10.2.0.2", 53)),
                       first("10.1.0.2", 4000, "10.3.1.2", 5353)));
    CHECK(forwarded_as(chain.run("in", later("10.1.0.2", "10.2.0.2")), later("10.1.0.2", "10.3.1.2")));
    CHECK(forwarded_as(chain.run("out", first("10.3.1.2", 5353, "10.1.0.2", 4000, 7)),
                       first("10.2.0.2", 53, "10.1.0.2", 4000, 7)));
    CHECK(forwarded_as(chain.run("out", later("10.3.1.2", "10.1.0.2", 7)), later("10.2.0.2", "10.1.0.2", 7)));
    CHECK(backend(chain, "d1").at("packets").to_number<int>() == 4);
}

TEST_CASE("lb: a later fragment whose first was not seen is dropped by name, to a VIP only")
{
    Chain chain{config(s1)};
    chain.run("in", first("10.1.0.2", 4000, "10.2.0.2", 53));
    CHECK(dropped(chain.run("in", later("10.1.0.2", "10.2.0.2", 6))) == "fragment");
    CHECK(dropped(chain.run("in", later("10.1.0.3", "10.2.0.2"))) == "fragment");
    CHECK(forwarded_as(chain.run("in", later("10.1.0.2", "10.2.0.3")), later("10.1.0.2", "10.2.0.3")));
    CHECK(dropped(chain.run("in", later6("2001:db8:1::2", "2001:db8:2::2", IPPROTO_TCP))) == "fragment");
}

TEST_CASE("lb: later fragments of what no service of the VIP can take go on untouched, with or without their first")
{
    Chain chain{config(s1, "", "      - {name: names, vip: 10.2.0.8, port: 53, proto: udp, backends: [" + s1 + "]}\n"
                               "      - {name: names6, vip: \"2001:db8:2::8\", port: 53, proto: udp, backends: "
                               "[{name: n6, address: \"2001:db8:3::8\"}]}\n")};
    const std::vector<Frame> others{
        later("10.1.0.2", "10.2.0.8", 5, IPPROTO_TCP),
        later("10.1.0.2", "10.2.0.8", 5, IPPROTO_GRE),
        later6("2001:db8:1::2", "2001:db8:2::8", IPPROTO_TCP),
        later6("2001:db8:1::2", "2001:db8:2::8", IPPROTO_ESP),
    };
    for (const auto& frame : others) CHECK(forwarded_as(chain.run("in", frame), frame));
    const std::vector<Frame> ours{
        later("10.1.0.2", "10.2.0.8"),
        later("10.1.0.2", "10.2.0.8", 5, IPPROTO_ICMP),
        later6("2001:db8:1::2", "2001:db8:2::8", IPPROTO_UDP),
        later6("2001:db8:1::2", "2001:db8:2::8", IPPROTO_ICMPV6),
        later6("2001:db8:1::2", "2001:db8:2::8", IPPROTO_DSTOPTS),
    };
    for (const auto& frame : ours) CHECK(dropped(chain.run("in", frame)) == "fragment");

    const auto other_port = first("10.1.0.2", 4000, "10.2.0.8", 54);
    CHECK(forwarded_as(chain.run("in", other_port), other_port));
    CHECK(forwarded_as(chain.run("in", later("10.1.0.2", "10.2.0.8")), later("10.1.0.2", "10.2.0.8")));
}

TEST_CASE("lb: an identification that comes again belongs to the packet that has it now")
{
    Chain chain{config(s1)};
    chain.run("in", first("10.1.0.2", 4000, "10.2.0.2", 53));
    chain.run("in", first("10.1.0.2", 4000, "10.2.0.2", 54));
    CHECK(forwarded_as(chain.run("in", later("10.1.0.2", "10.2.0.2")), later("10.1.0.2", "10.2.0.2")));
    chain.run("in", first("10.1.0.2", 4000, "10.2.0.2", 53));
    CHECK(forwarded_as(chain.run("in", later("10.1.0.2", "10.2.0.2")), later("10.1.0.2", "10.3.1.2")));
}

TEST_CASE("lb local: fragments to a proxy's service are this machine's, in whatever order they come")
{
    Chain chain{config(s1, "", "      - {name: own, vip: 10.2.0.9, port: 53, proto: udp, mode: local}\n"
                               "      - {name: own6, vip: \"2001:db8:2::9\", port: 53, proto: udp, mode: local}\n")};
    const auto start6 = packet(Eth{}, Ipv6{.dst = "2001:db8:2::9"}, Fragment{.more = true, .id = 9, .next = IPPROTO_UDP},
                               Udp{.sport = 4000, .dport = 53, .length = 600, .checksum = 0x1234}, Payload{std::string(496, 'x')});
    const std::vector<Frame> in_order{
        first("10.1.0.2", 4000, "10.2.0.9", 53),
        later("10.1.0.2", "10.2.0.9"),
        start6,
        later6("2001:db8:1::2", "2001:db8:2::9", IPPROTO_UDP),
    };
    const auto check = [&](const Frame& frame) {
        const auto result = chain.run("in", frame);
        CHECK(result.verdict == EVNF_LOCAL);
        CHECK(result.frame == frame);
    };
    for (auto frame = in_order.rbegin(); frame != in_order.rend(); ++frame) check(*frame);
    for (const auto& frame : in_order) check(frame);
    const auto other = later("10.1.0.2", "10.2.0.9", 5, IPPROTO_TCP);
    CHECK(forwarded_as(chain.run("in", other), other));
}

TEST_CASE("lb: fragments of IPv6 belong together whatever header they say comes next")
{
    Chain chain{config(s1)};
    const auto start = [](const char* dst) {
        return packet(Eth{}, Ipv6{.dst = dst}, Fragment{.more = true, .id = 9, .next = IPPROTO_DSTOPTS}, DestOpts{},
                      Udp{.sport = 4000, .dport = 53, .length = 600, .checksum = 0x1234}, Payload{std::string(496, 'x')});
    };
    const auto there = chain.run("in", start("2001:db8:2::2"));
    CHECK(evnf::Address::from(there.packet.dst).text() == "2001:db8:3::1");
    CHECK(forwarded_as(chain.run("in", later6("2001:db8:1::2", "2001:db8:2::2", IPPROTO_DSTOPTS)),
                       later6("2001:db8:1::2", "2001:db8:3::1", IPPROTO_DSTOPTS)));
}

TEST_CASE("lb: an echo request to a VIP is answered, whatever its size, with tags and all of its payload")
{
    Chain chain{config(s1)};
    for (const std::size_t size : {0, 1, 56, 1400}) {
        const Payload payload{std::string(size, 'e')};
        for (const std::uint32_t rest : {0u, 0x12340007u}) {
            const auto answer = chain.run("in", packet(Eth{}, Vlan{}, Ipv4{.ttl = 7, .tos = 4, .id = 3},
                                                       Icmp{.rest = rest}, payload));
            CHECK(answer.verdict == EVNF_REPLY);
            CHECK(answer.frame == packet(Eth{.dst = "02:00:00:00:00:02", .src = "02:00:00:00:00:01"}, Vlan{},
                                         Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2", .tos = 4, .id = 3},
                                         Icmp{.type = 0, .rest = rest}, payload));
            const auto answer6 = chain.run("in", packet(Eth{}, Ipv6{.hop_limit = 7}, Icmpv6{.rest = rest}, payload));
            CHECK(answer6.verdict == EVNF_REPLY);
            CHECK(answer6.frame == packet(Eth{.dst = "02:00:00:00:00:02", .src = "02:00:00:00:00:01"},
                                          Ipv6{.src = "2001:db8:2::2", .dst = "2001:db8:1::2"},
                                          Icmpv6{.type = 129, .rest = rest}, payload));
        }
    }
    CHECK(kept(chain) == 0);
}

TEST_CASE("lb: echo requests that must not be answered are not")
{
    Chain chain{config(s1)};
    const std::vector<Frame> frames{
        packet(Eth{}, Ipv4{.dst = "10.2.0.3"}, Icmp{}),
        packet(Eth{}, Ipv4{.src = "224.0.0.1"}, Icmp{}),
        packet(Eth{}, Ipv4{.src = "0.0.0.0"}, Icmp{}),
        packet(Eth{}, Ipv4{}, Icmp{.type = 0}),
        packet(Eth{}, Ipv4{}, Icmp{.code = 1}),
        packet(Eth{}, Ipv4{.options = "\1\1\1\1"}, Icmp{}),
        packet(Eth{.dst = "ff:ff:ff:ff:ff:ff"}, Ipv4{}, Icmp{}),
        packet(Eth{}, Ipv6{.src = "ff02::1"}, Icmpv6{}),
    };
    for (const auto& frame : frames) CHECK(forwarded_as(chain.run("in", frame), frame));
    CHECK(dropped(chain.run("in", packet(Eth{}, Ipv4{.more_fragments = true}, Icmp{}, Payload{std::string(32, 'e')}))) ==
          "fragment");
}

TEST_CASE("lb: ICMP errors about no connection, or not for who sent what they quote, pass untouched and leave no entry")
{
    Chain chain{config(s1)};
    const auto error = [](const char* to, const std::vector<Layer>& quoted) {
        std::vector<Layer> layers{Eth{}, Ipv4{.src = "192.0.2.1", .dst = to}, Icmp{.type = 3, .code = 4, .rest = 1280}};
        layers.insert(layers.end(), quoted.begin(), quoted.end());
        return build(layers);
    };
    const Ipv4 reply{.src = "10.2.0.2", .dst = "10.1.0.2"};
    const Tcp tcp{.sport = 80, .dport = 1234};
    const auto early = error("10.2.0.2", {reply, tcp});
    CHECK(forwarded_as(chain.run("in", early), early));
    CHECK(kept(chain) == 0);

    open_at_s1(chain, 1234);
    Ipv4 fragment = reply;
    fragment.fragment_offset = 8;
    const std::vector<Frame> frames{
        error("10.2.0.3", {reply, tcp}),
        error("10.2.0.2", {fragment, tcp}),
        error("10.2.0.2", {reply, Udp{.sport = 80, .dport = 1234}}),
        error("10.2.0.2", {reply, Sctp{.sport = 80, .dport = 1234}}),
        error("10.2.0.2", {reply, Payload{"short"}}),
        error("10.2.0.2", {reply}),
        error("10.2.0.2", {}),
    };
    for (const auto& frame : frames) CHECK(forwarded_as(chain.run("in", frame), frame));
    CHECK(kept(chain) == 1);
}

TEST_CASE("lb: an ICMP error does not keep a connection alive")
{
    Chain chain{config(s1, "", "    max_connections: 100\n")};
    open_at_s1(chain, 1234);
    const auto seen = [&] {
        std::string all;
        chain.map("lb", "lb_connections").for_each<std::uint32_t, lb_set>([&](const auto&, const lb_set& set) {
            all.append(reinterpret_cast<const char*>(&set), sizeof set);
        });
        return all;
    };
    const auto before = seen();
    const auto result = chain.run("in", packet(Eth{}, Ipv4{.src = "192.0.2.1"}, Icmp{.type = 11},
                                               Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2"}, Tcp{.sport = 80, .dport = 1234, .flags = RST}));
    CHECK(evnf::Address::from(result.packet.dst).text() == "10.3.1.2");
    CHECK(seen() == before);
}
