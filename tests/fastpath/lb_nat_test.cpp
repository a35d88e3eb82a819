// SPDX-License-Identifier: MIT
/// The load balancer's translation: both directions, checksums, fragments, and what it leaves alone.
#include <cstdio>
#include <set>

#include "lb_lab.hpp"

using namespace evnf::test;
using namespace evnf::test::lb;
using evnf::Address;

TEST_CASE("lb: a packet to the VIP goes to the backend, the reply comes from the VIP")
{
    Chain chain{config(s1)};
    const auto there = chain.run("in", to_vip(1234, SYN, "hello"));
    CHECK(forwarded_as(there, packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "10.3.1.2"},
                                     Tcp{.sport = 1234, .dport = 8080, .flags = SYN}, Payload{"hello"})));
    const auto back = chain.run("out", from_s1(1234, SYN | ACK, "welcome"));
    CHECK(
        forwarded_as(back, packet(Eth{}, Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2"},
                                  Tcp{.sport = 80, .dport = 1234, .flags = SYN | ACK}, Payload{"welcome"})));
}

TEST_CASE("lb: later stages see the packet as it is on the wire")
{
    Chain chain{config(s1)};
    const auto there = chain.run("in", to_vip(1234, SYN)).packet;
    CHECK(Address::from(there.src).text() == "10.1.0.2");
    CHECK(Address::from(there.dst).text() == "10.3.1.2");
    CHECK(ntohs(there.sport) == 1234);
    CHECK(ntohs(there.dport) == 8080);
    const auto back = chain.run("out", from_s1(1234, ACK)).packet;
    CHECK(Address::from(back.src).text() == "10.2.0.2");
    CHECK(Address::from(back.dst).text() == "10.1.0.2");
    CHECK(ntohs(back.sport) == 80);
    CHECK(ntohs(back.dport) == 1234);
}

TEST_CASE("lb: --replay learns the service and the backend")
{
    Chain chain{config(s1)};
    const boost::json::object s1_of_web{{"service", "web"}, {"backend", "s1"}};
    CHECK(chain.run("in", to_vip(1234, SYN)).plugins.at("lb") == s1_of_web);
    CHECK(chain.run("in", to_vip(1234, ACK)).plugins.at("lb") == s1_of_web);
    CHECK(chain.run("out", from_s1(1234, ACK)).plugins.at("lb") == s1_of_web);
    CHECK(chain.run("out", from_s1(1235, ACK)).plugins.at("lb") == boost::json::object{});
    Chain drained{config(s1_drained)};
    CHECK(drained.run("in", to_vip(1234, SYN)).plugins.at("lb") == boost::json::object{{"service", "web"}});
}

namespace {

/// A random packet both ways round, built by the oracle with the addresses before and after.
struct RandomPacket {
    std::vector<Layer> layers(bool six, bool udp, const std::string& src, std::uint16_t sport,
                              const std::string& dst, std::uint16_t dport) const
    {
        std::vector<Layer> list{Eth{}};
        for (int tag = 0; tag < tags; ++tag) list.push_back(Vlan{.id = static_cast<std::uint16_t>(7 + tag)});
        if (six)
            list.push_back(Ipv6{.src = src, .dst = dst, .traffic_class = tos});
        else
            list.push_back(Ipv4{.src = src, .dst = dst, .tos = tos, .id = id, .options = options});
        if (six && !options.empty()) list.push_back(DestOpts{});
        if (udp) {
            Udp header{.sport = sport, .dport = dport};
            if (no_checksum && !six) header.checksum = 0;
            list.push_back(header);
        } else {
            list.push_back(
                Tcp{.sport = sport, .dport = dport, .seq = seq, .flags = flags, .options = tcp_options});
        }
        list.push_back(Payload{payload});
        return list;
    }

    explicit RandomPacket(std::mt19937& random)
        : tags(static_cast<int>(random() % 3)),
          tos(static_cast<std::uint8_t>(random())),
          id(static_cast<std::uint16_t>(random())),
          flags(random() % 2 ? ACK : PSH | ACK),
          seq(static_cast<std::uint32_t>(random())),
          no_checksum(random() % 4 == 0),
          options(random() % 3 ? "" : std::string(4 * (1 + random() % 10), '\1')),
          tcp_options(random() % 2 ? "" : std::string(4 * (1 + random() % 10), '\1'))
    {
        payload.resize(random() % 3 ? random() % 8 : random() % 1200);
        for (auto& byte : payload) byte = static_cast<char>(random());
    }

    int tags;
    std::uint8_t tos;
    std::uint16_t id;
    std::uint8_t flags;
    std::uint32_t seq;
    bool no_checksum;
    std::string options, tcp_options, payload;
};

/// A service of each kind at random addresses.
struct RandomService {
    bool six, udp;
    std::string vip, server;
    std::uint16_t port, server_port;
};

} // namespace

TEST_CASE("lb: random packets are translated as if built anew, both ways, with all checksums")
{
    const auto seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random{seed};
    for (int round = 0; round < 10; ++round) {
        std::vector<RandomService> services;
        std::string yaml = "ports: [{name: in, chain: [lb]}]\nplugins:\n  lb:\n    services:\n";
        for (int kind = 0; kind < 4; ++kind) {
            const bool six = kind & 1, udp = kind & 2;
            services.push_back({six, udp, random_address(random, six), random_address(random, six),
                                static_cast<std::uint16_t>(1 + random() % 65535),
                                static_cast<std::uint16_t>(1 + random() % 65535)});
            const auto& s = services.back();
            yaml += "      - {name: n" + std::to_string(kind) + ", vip: \"" + s.vip +
                    "\", port: " + std::to_string(s.port) + ", proto: " + (udp ? "udp" : "tcp") +
                    ", backends: [{name: b, address: \"" + s.server +
                    "\", port: " + std::to_string(s.server_port) + "}]}\n";
        }
        Chain chain{yaml};
        for (int i = 0; i < 400; ++i) {
            const auto& s = services[random() % services.size()];
            const RandomPacket what{random};
            const auto client = random_address(random, s.six);
            const auto port = static_cast<std::uint16_t>(1 + random() % 65535);
            const auto before = build(what.layers(s.six, s.udp, client, port, s.vip, s.port));
            const auto after = build(what.layers(s.six, s.udp, client, port, s.server, s.server_port));
            REQUIRE(forwarded_as(chain.run("in", before), after));
            const auto reply = build(what.layers(s.six, s.udp, s.server, s.server_port, client, port));
            const auto translated = build(what.layers(s.six, s.udp, s.vip, s.port, client, port));
            REQUIRE(forwarded_as(chain.run("in", reply), translated));
            REQUIRE(checksums_ok(translated));
        }
    }
}

TEST_CASE("lb: UDP checksums meet every value and never become 0, which would mean none")
{
    Chain chain{config(s1)};
    const auto frame = [](const char* dst, std::uint16_t dport, unsigned value) {
        return packet(Eth{}, Ipv4{.dst = dst}, Udp{.sport = 999, .dport = dport},
                      Payload{{static_cast<char>(value >> 8), static_cast<char>(value)}});
    };
    // From one value of a 16-bit word to the next the checksum takes all of its values, 0xffff for 0 too.
    std::set<std::pair<std::byte, std::byte>> checksums;
    for (unsigned value = 0; value < 0x10000; ++value) {
        const auto result = chain.run("in", frame("10.2.0.2", 53, value));
        const auto wanted = frame("10.3.1.2", 5353, value);
        if (result.frame != wanted) FAIL(describe(result.frame) << " for value " << value);
        checksums.emplace(wanted[40], wanted[41]);
    }
    CHECK(checksums.size() == 0xffff);
    CHECK(checksums.contains({std::byte{0xff}, std::byte{0xff}}));
}

TEST_CASE("lb: a wrong checksum is not made right")
{
    Chain chain{config(s1)};
    const auto result = chain.run(
        "in", packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Tcp{.dport = 80, .flags = SYN, .checksum = 0x1234}));
    CHECK(result.verdict == EVNF_FORWARD);
    CHECK_FALSE(checksums_ok(result.frame));
}

TEST_CASE("lb: what is not for a service passes untouched and leaves no entry")
{
    Chain chain{config(s1)};
    const std::vector<Frame> frames{
        packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Tcp{.dport = 81, .flags = SYN}),
        packet(Eth{}, Ipv4{.dst = "10.2.0.3"}, Tcp{.dport = 80, .flags = SYN}),
        packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Udp{.dport = 80}),
        packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Tcp{.dport = 53, .flags = SYN}),
        packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Tcp{.dport = 0, .flags = SYN}),
        packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Sctp{.dport = 80}),
        packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Icmp{.type = 13}),
        packet(Eth{}, Ipv4{.dst = "10.2.0.3"}, Icmp{}),
        packet(Eth{}, Ipv6{.dst = "2001:db8:2::3"}, Tcp{.dport = 80, .flags = SYN}),
    };
    for (const auto& frame : frames) {
        const auto result = chain.run("in", frame);
        CHECK(forwarded_as(result, frame));
        CHECK(result.plugins.at("lb") == boost::json::object{});
    }
    CHECK(kept(chain) == 0);
}

TEST_CASE("lb: only replies of tracked connections are rewritten, not whatever comes from a server's port")
{
    Chain chain{config(s1)};
    open_at_s1(chain, 1234);
    const std::vector<Frame> strangers{
        from_s1(1235, ACK), // to another port of the client
        packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.3"}, Tcp{.sport = 8080, .dport = 1234}),
        packet(Eth{}, Ipv4{.src = "10.3.1.3", .dst = "10.1.0.2"}, Tcp{.sport = 8080, .dport = 1234}),
        packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.2"}, Tcp{.sport = 80, .dport = 1234}),
        packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.2"}, Udp{.sport = 8080, .dport = 1234}),
        packet(Eth{}, Ipv4{.src = "192.0.2.7", .dst = "192.0.2.8"}, Tcp{.sport = 80, .dport = 1234}),
    };
    for (const auto& frame : strangers) CHECK(forwarded_as(chain.run("out", frame), frame));
}
