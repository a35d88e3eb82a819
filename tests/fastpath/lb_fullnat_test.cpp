// SPDX-License-Identifier: MIT
/// The load balancer's mode fullnat: both ends are translated, ports are handed out and come back.
#include <chrono>
#include <thread>

#include "lb_lab.hpp"

using namespace evnf::test;
using namespace evnf::test::lb;
using evnf::Address;

namespace {

std::string fullnat(const std::string& backends, const std::string& plugin = "")
{
    return config(backends, ", mode: fullnat", "    nat_pool: 10.9.0.1\n" + plugin);
}

std::size_t translations(Chain& chain)
{
    std::size_t count = 0;
    chain.map("lb", "lb_fullnat").for_each<lb_tuple, lb_tuple>([&](const auto&, const auto&) { ++count; });
    return count;
}

Frame from_server(const char* server, std::uint16_t sport, std::uint16_t pool_port, std::uint8_t flags)
{
    return packet(Eth{}, Ipv4{.src = server, .dst = "10.9.0.1"}, Tcp{.sport = sport, .dport = pool_port, .flags = flags});
}

/// SYN, SYN-ACK, ACK; the port that the server sees.
std::uint16_t open(Chain& chain, std::uint16_t port)
{
    const auto there = chain.run("in", to_vip(port, SYN));
    REQUIRE(destination(there) == "10.3.1.2 8080");
    const auto pool_port = ntohs(there.packet.sport);
    REQUIRE(chain.run("out", from_server("10.3.1.2", 8080, pool_port, SYN | ACK)).verdict == EVNF_FORWARD);
    REQUIRE(chain.run("in", to_vip(port, ACK)).verdict == EVNF_FORWARD);
    REQUIRE(state(chain, port) == "established");
    return pool_port;
}

} // namespace

TEST_CASE("lb: in fullnat the server sees the pool, the client the VIP, and a reload changes nothing of that")
{
    Chain chain{fullnat(s1)};
    const auto port = open(chain, 1234);
    chain.reload(config(s2));
    CHECK(forwarded_as(chain.run("in", to_vip(1234, ACK, "data")),
                       packet(Eth{}, Ipv4{.src = "10.9.0.1", .dst = "10.3.1.2"}, Tcp{.sport = port, .dport = 8080}, Payload{"data"})));
    CHECK(forwarded_as(chain.run("out", from_server("10.3.1.2", 8080, port, ACK)),
                       packet(Eth{}, Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2"}, Tcp{.sport = 80, .dport = 1234})));
}

TEST_CASE("lb: in fullnat a server is served under its own VIP")
{
    Chain chain{fullnat(s1)};
    const auto own = [](std::uint8_t flags) {
        return packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.2.0.2"}, Tcp{.sport = 5000, .dport = 80, .flags = flags});
    };
    const auto there = chain.run("out", own(SYN)).packet;
    CHECK(Address::from(there.src).text() == "10.9.0.1");
    CHECK(Address::from(there.dst).text() == "10.3.1.2");
    CHECK(forwarded_as(chain.run("out", from_server("10.3.1.2", 8080, ntohs(there.sport), SYN | ACK)),
                       packet(Eth{}, Ipv4{.src = "10.2.0.2", .dst = "10.3.1.2"},
                              Tcp{.sport = 80, .dport = 5000, .flags = SYN | ACK})));
}

TEST_CASE("lb: what comes to the pool and belongs to no connection passes untouched")
{
    Chain chain{fullnat(s1)};
    const auto port = open(chain, 1234);
    for (const auto& frame : {from_server("10.3.1.2", 8080, static_cast<std::uint16_t>(port ^ 1), ACK),
                              from_server("10.3.1.2", 80, port, ACK), from_server("10.3.1.3", 8080, port, ACK)})
        CHECK(forwarded_as(chain.run("out", frame), frame));
}

TEST_CASE("lb: in fullnat a connection that selects anew or expires leaves nothing behind")
{
    Chain chain{fullnat(s1, "    max_connections: 1000\n    timeouts: {syn: 1s, fin: 1s, established: 1s, udp: 1s}\n")};
    open(chain, 1234);
    CHECK(kept(chain) == 1);
    CHECK(translations(chain) == 2);
    chain.reload(config(s1_down + "," + s2, ", mode: fullnat",
                        "    nat_pool: 10.9.0.1\n    max_connections: 1000\n    timeouts: {syn: 1s, fin: 1s, established: 1s, udp: 1s}\n"));
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.2.2 80");
    CHECK(connections(chain) == 1);
    CHECK(translations(chain) == 2);
    std::this_thread::sleep_for(std::chrono::milliseconds{1300});
    chain.poll();
    CHECK(connections(chain) == 0);
    CHECK(translations(chain) == 0);
}

TEST_CASE("lb: where all ports of the pool are in use, new connections are dropped by name and the others go on")
{
    Chain chain{fullnat(s1)};
    const auto port = open(chain, 1234);
    std::vector<lb_tuple> taken;
    for (unsigned other = LB_FIRST_PORT; other <= 0xffff; ++other) {
        if (other == port) continue;
        lb_tuple reply{};
        reply.src = Address::parse("10.3.1.2")->raw;
        reply.dst = Address::parse("10.9.0.1")->raw;
        reply.sport = htons(8080);
        reply.dport = htons(static_cast<std::uint16_t>(other));
        reply.protocol = IPPROTO_TCP;
        taken.push_back(reply);
    }
    chain.map("lb", "lb_fullnat").update_batch(taken, std::vector<lb_tuple>(taken.size()));
    CHECK(dropped(chain.run("in", to_vip(1235, SYN))) == "tuple_taken");
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.1.2 8080");
}
