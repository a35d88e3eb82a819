// SPDX-License-Identifier: MIT
/// What went wrong in the load balancer that this one follows: each mistake once, over IPv4 and IPv6.
#include <map>

#include "lb_lab.hpp"

using namespace evnf::test;
using namespace evnf::test::lb;
using evnf::Address;

namespace {

/// One service, "web", at VIP port 8443, and three servers at port 8080.
struct Family {
    std::string name, client, vip, servers[3];

    Frame to_vip(std::uint16_t port, std::uint8_t flags) const { return tcp(client, port, vip, 8443, flags); }
    Frame reply(unsigned server, std::uint16_t port, std::uint8_t flags) const { return tcp(servers[server], 8080, client, port, flags); }
    Frame tcp(const std::string& src, std::uint16_t sport, const std::string& dst, std::uint16_t dport, std::uint8_t flags) const
    {
        return between(src, dst, Tcp{.sport = sport, .dport = dport, .flags = flags});
    }
    template <class Transport>
    Frame between(const std::string& src, const std::string& dst, const Transport& transport) const
    {
        if (src.find(':') == std::string::npos) return packet(Eth{}, Ipv4{.src = src, .dst = dst}, transport, Payload{"odd"});
        return packet(Eth{}, Ipv6{.src = src, .dst = dst}, transport, Payload{"odd"});
    }

    /// With these of the servers, each with these keys.
    std::string config(const std::vector<unsigned>& which, const std::string& keys = "") const
    {
        std::string backends;
        for (const auto i : which)
            backends += "{name: s" + std::to_string(i) + ", address: \"" + servers[i] + "\", port: 8080" + keys + "}, ";
        return "ports: [{name: in, chain: [lb]}, {name: out, chain: [lb]}]\nplugins:\n  lb:\n    services:\n"
               "      - {name: web, vip: \"" + vip + "\", port: 8443, proto: tcp, backends: [" + backends + "]}\n"
               "      - {name: alt, vip: \"" + vip + "\", port: 9443, proto: tcp, backends: [{name: a, address: \"" + servers[1] + "\"}]}\n"
               "      - {name: udp, vip: \"" + vip + "\", port: 8443, proto: udp, backends: [{name: u, address: \"" + servers[2] + "\"}]}\n";
    }

    /// The whole life of a connection through the first server, in packets.
    void live(Chain& chain, std::uint16_t port) const
    {
        for (const auto flags : {SYN, ACK}) REQUIRE(chain.run("in", to_vip(port, flags)).verdict == EVNF_FORWARD);
        REQUIRE(chain.run("out", reply(0, port, SYN | ACK)).verdict == EVNF_FORWARD);
        REQUIRE(chain.run("in", to_vip(port, FIN | ACK)).verdict == EVNF_FORWARD);
        REQUIRE(chain.run("out", reply(0, port, FIN | ACK)).verdict == EVNF_FORWARD);
        REQUIRE(chain.run("in", to_vip(port, ACK)).verdict == EVNF_FORWARD);
    }

    std::string server(Chain& chain, std::uint16_t port, std::uint8_t flags = SYN) const { return destination(chain.run("in", to_vip(port, flags))); }
    /// Of a client's slot: a reset of no connection goes there and leaves no entry.
    std::string slot_owner(Chain& chain, std::uint16_t port) const { return server(chain, port, RST); }
};

/// Addresses that differ in every part.
Family any_family()
{
    return GENERATE(Family{"IPv4", "9.8.7.6", "203.0.113.77", {"10.20.30.40", "172.16.5.9", "192.168.250.251"}},
                    Family{"IPv6", "2001:db8:9:8:7:6:5:4", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:fff0",
                           {"fd12:3456:789a:1::77", "fd00:1:2:3:4:5:6:7", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"}});
}

} // namespace

TEST_CASE("lb: checksums stay right although every part of the address and the port change")
{
    const auto family = any_family();
    CAPTURE(family.name);
    for (unsigned i = 0; i < 3; ++i) {
        Chain chain{family.config({i})};
        CHECK(forwarded_as(chain.run("in", family.to_vip(4000, SYN)), family.tcp(family.client, 4000, family.servers[i], 8080, SYN)));
        CHECK(forwarded_as(chain.run("out", family.reply(i, 4000, SYN | ACK)), family.tcp(family.vip, 8443, family.client, 4000, SYN | ACK)));
    }
}

TEST_CASE("lb: the last ACK behind both FINs makes no new connection")
{
    const auto family = any_family();
    CAPTURE(family.name);
    Chain chain{family.config({0})};
    for (std::uint16_t port = 4000; port < 4050; ++port) {
        family.live(chain, port);
        CHECK(state(chain, port) == "closed");
    }
    CHECK(chain.query("lb", "connections").as_array().size() == 50);
}

TEST_CASE("lb: between the client's FIN and the server's, the server stays, whatever becomes of the table")
{
    const auto family = any_family();
    CAPTURE(family.name);
    Chain chain{family.config({0})};
    const auto first = family.server(chain, 4000);
    chain.run("out", family.reply(0, 4000, SYN | ACK));
    CHECK(family.server(chain, 4000, ACK) == first);
    CHECK(family.server(chain, 4000, FIN | ACK) == first);
    chain.reload(family.config({1, 2}));
    CHECK(family.server(chain, 4000, ACK) == first);
    CHECK(forwarded_as(chain.run("out", family.reply(0, 4000, PSH | ACK)), family.tcp(family.vip, 8443, family.client, 4000, PSH | ACK)));
}

TEST_CASE("lb: the VIP's port and the protocol tell a client's connections from one port apart")
{
    const auto family = any_family();
    CAPTURE(family.name);
    Chain chain{family.config({0})};
    CHECK(family.server(chain, 4000) == family.servers[0] + " 8080");
    CHECK(destination(chain.run("in", family.tcp(family.client, 4000, family.vip, 9443, SYN))) == family.servers[1] + " 9443");
    CHECK(destination(chain.run("in", family.between(family.client, family.vip, Udp{.sport = 4000, .dport = 8443}))) ==
          family.servers[2] + " 8443");
    CHECK(family.server(chain, 4000, ACK) == family.servers[0] + " 8080");
}

TEST_CASE("lb: what a server sends from the service's port of itself is not rewritten, nor what others send from there")
{
    const auto family = any_family();
    CAPTURE(family.name);
    Chain chain{family.config({0})};
    family.server(chain, 4000);
    const Frame strangers[] = {
        family.reply(0, 4001, SYN | ACK),
        family.reply(1, 4000, SYN | ACK),
        family.tcp(family.servers[0], 8443, family.client, 4000, ACK),
        family.tcp(family.servers[0], 80, family.client, 4000, ACK),
        family.between(family.servers[0], family.client, Udp{.sport = 8080, .dport = 4000}),
    };
    for (const auto& frame : strangers) CHECK(forwarded_as(chain.run("out", frame), frame));
}

TEST_CASE("lb: three equal servers get all connections, a third each")
{
    const auto family = any_family();
    CAPTURE(family.name);
    Chain chain{family.config({0, 1, 2})};
    std::map<std::string, int> shares;
    for (std::uint16_t port = 10000; port < 16000; ++port) ++shares[family.server(chain, port)];
    CHECK(shares.size() == 3);
    for (const auto& [server, count] : shares) {
        CAPTURE(server);
        CHECK(count > 1800); // 2000, by chance 36 less or more
        CHECK(count < 2200);
    }
}

TEST_CASE("lb: when no server may take connections, they are dropped by name and sent nowhere")
{
    const auto family = any_family();
    const std::string keys = GENERATE(", weight: 0", ", state: down", ", state: drain");
    CAPTURE(family.name, keys);
    Chain chain{family.config({0, 1, 2}, keys)};
    for (std::uint16_t port = 4000; port < 4100; ++port) CHECK(family.server(chain, port) == "no_backend");
    CHECK(chain.query("lb", "connections").as_array().empty());
}

TEST_CASE("lb: a server that is down gets no packet, of new connections or of old ones")
{
    const auto family = any_family();
    CAPTURE(family.name);
    Chain chain{family.config({0})};
    for (std::uint16_t port = 4000; port < 4050; ++port) CHECK(family.server(chain, port) == family.servers[0] + " 8080");
    auto settings = family.config({0, 1, 2});
    settings.insert(settings.find("port: 8080") + 10, ", state: down");
    chain.reload(settings);
    for (std::uint16_t port = 4000; port < 4100; ++port) CHECK(family.server(chain, port) != family.servers[0] + " 8080");
}

TEST_CASE("lb: a reload that changes nothing moves no slot to another server")
{
    const auto family = any_family();
    CAPTURE(family.name);
    Chain chain{family.config({0, 1, 2})};
    std::map<std::uint16_t, std::string> servers;
    for (std::uint16_t port = 4000; port < 4300; ++port) servers[port] = family.slot_owner(chain, port);
    chain.reload(family.config({2, 1, 0}));
    for (const auto& [port, server] : servers) CHECK(family.slot_owner(chain, port) == server);
}

TEST_CASE("lb: which server a client gets cannot be reckoned by whoever knows the addresses: another balancer differs")
{
    const auto family = any_family();
    CAPTURE(family.name);
    Chain one{family.config({0, 1, 2})}, other{family.config({0, 1, 2})};
    int same = 0;
    for (std::uint16_t port = 4000; port < 4300; ++port) same += family.slot_owner(one, port) == family.slot_owner(other, port);
    CHECK(same > 50); // 100, by chance 8 less or more
    CHECK(same < 150);
}
