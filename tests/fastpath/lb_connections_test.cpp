// SPDX-License-Identifier: MIT
/// The load balancer's connections: who keeps which server, states, expiry.
#include <chrono>
#include <functional>
#include <thread>

#include "lb_lab.hpp"

using namespace evnf::test;
using namespace evnf::test::lb;
using evnf::Address;

TEST_CASE("lb: established connections stay with their server, though a reload removes it")
{
    Chain chain{config(s1)};
    for (std::uint16_t port = 1000; port < 1050; ++port) open_at_s1(chain, port);
    chain.reload(config(s2));
    for (std::uint16_t port = 1000; port < 1050; ++port) {
        CHECK(destination(chain.run("in", to_vip(port, ACK, "data"))) == "10.3.1.2 8080");
        const auto back = chain.run("out", from_s1(port, ACK, "data"));
        CHECK(Address::from(back.packet.src).text() == "10.2.0.2");
    }
    CHECK(destination(chain.run("in", to_vip(1050, SYN))) == "10.3.2.2 80");
}

TEST_CASE("lb: connections outlive their service")
{
    Chain chain{config(s1)};
    open_at_s1(chain, 1234);
    chain.reload(
        "{ports: [{name: in, chain: [lb]}, {name: out, chain: [lb]}], plugins: {lb: {services: []}}}");
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.1.2 8080");
    CHECK(Address::from(chain.run("out", from_s1(1234, ACK)).packet.src).text() == "10.2.0.2");
    CHECK(destination(chain.run("in", to_vip(1235, SYN))) == "10.2.0.2 80");
}

TEST_CASE("lb: a repeated SYN keeps its server when the table has changed in between")
{
    Chain chain{config(s1)};
    CHECK(destination(chain.run("in", to_vip(1234, SYN))) == "10.3.1.2 8080");
    chain.reload(config(s2));
    CHECK(destination(chain.run("in", to_vip(1234, SYN))) == "10.3.1.2 8080");
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.1.2 8080");
}

TEST_CASE("lb: a draining server keeps its connections and gets no new ones")
{
    Chain chain{config(s1)};
    open_at_s1(chain, 1234);
    chain.reload(config(s1_drained + "," + s2));
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.1.2 8080");
    for (std::uint16_t port = 2000; port < 2100; ++port)
        CHECK(destination(chain.run("in", to_vip(port, SYN))) == "10.3.2.2 80");
}

TEST_CASE("lb: connections of a server that is down select anew")
{
    Chain chain{config(s1)};
    open_at_s1(chain, 1234);
    chain.reload(config(s1_down + "," + s2));
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.2.2 80");
    CHECK(entries(chain) == 2);
    const auto late = from_s1(1234, ACK);
    CHECK(forwarded_as(chain.run("out", late), late));
}

TEST_CASE("lb: a connection opens, half closes and closes; the last ACK and repeats make no entry")
{
    Chain chain{config(s1)};
    chain.run("in", to_vip(1234, SYN));
    CHECK(state(chain, 1234) == "syn");
    chain.run("out", from_s1(1234, SYN | ACK));
    CHECK(state(chain, 1234) == "syn");
    chain.run("in", to_vip(1234, ACK));
    CHECK(state(chain, 1234) == "established");
    chain.run("in", to_vip(1234, FIN | ACK));
    CHECK(state(chain, 1234) == "fin");
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.1.2 8080");
    chain.run("out", from_s1(1234, PSH | ACK, "the rest"));
    CHECK(state(chain, 1234) == "fin");
    chain.run("out", from_s1(1234, FIN | ACK));
    CHECK(state(chain, 1234) == "closed");
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.1.2 8080");
    CHECK(Address::from(chain.run("out", from_s1(1234, FIN | ACK)).packet.src).text() == "10.2.0.2");
    CHECK(state(chain, 1234) == "closed");
    CHECK(entries(chain) == 2);
}

TEST_CASE("lb: the client's first FIN does not end the connection, whatever becomes of the table")
{
    Chain chain{config(s1)};
    open_at_s1(chain, 1234);
    chain.run("in", to_vip(1234, FIN | ACK));
    chain.reload(config(s2));
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.1.2 8080");
    CHECK(Address::from(chain.run("out", from_s1(1234, ACK, "data")).packet.src).text() == "10.2.0.2");
}

TEST_CASE("lb: a SYN on the tuple of a closed or half-closed connection selects anew")
{
    const std::vector<std::function<void(Chain&)>> endings{
        [](Chain& chain) { close_at_s1(chain, 1234); },
        [](Chain& chain) { chain.run("in", to_vip(1234, FIN | ACK)); },
        [](Chain& chain) { chain.run("in", to_vip(1234, RST)); },
        [](Chain& chain) { chain.run("out", from_s1(1234, RST | ACK)); },
    };
    for (const auto& end : endings) {
        Chain chain{config(s1)};
        open_at_s1(chain, 1234);
        end(chain);
        chain.reload(config(s2));
        CHECK(destination(chain.run("in", to_vip(1234, SYN))) == "10.3.2.2 80");
        CHECK(state(chain, 1234) == "syn");
        CHECK(entries(chain) == 2);
        const auto late = from_s1(1234, ACK);
        CHECK(forwarded_as(chain.run("out", late), late));
    }
}

TEST_CASE("lb: a SYN on a live connection does not move it")
{
    Chain chain{config(s1)};
    open_at_s1(chain, 1234);
    chain.reload(config(s2));
    CHECK(destination(chain.run("in", to_vip(1234, SYN))) == "10.3.1.2 8080");
    CHECK(state(chain, 1234) == "established");
}

TEST_CASE("lb: a reset closes; traffic that goes on in spite of it shows that it was forged")
{
    Chain chain{config(s1)};
    open_at_s1(chain, 1234);
    chain.run("in", to_vip(1234, RST));
    CHECK(state(chain, 1234) == "closed");
    chain.run("in", to_vip(1234, ACK, "still here"));
    CHECK(state(chain, 1234) == "established");
}

TEST_CASE("lb: a connection met in its midst is picked up, and is established when the server agrees")
{
    Chain chain{config(s1)};
    CHECK(destination(chain.run("in", to_vip(1234, ACK, "data"))) == "10.3.1.2 8080");
    CHECK(state(chain, 1234) == "syn");
    CHECK(Address::from(chain.run("out", from_s1(1234, ACK)).packet.src).text() == "10.2.0.2");
    CHECK(state(chain, 1234) == "established");
}

TEST_CASE("lb: a reset of an unknown connection reaches the server and leaves no entry")
{
    Chain chain{config(s1)};
    CHECK(destination(chain.run("in", to_vip(1234, RST))) == "10.3.1.2 8080");
    CHECK(destination(chain.run("in", to_vip(1234, RST | ACK))) == "10.3.1.2 8080");
    CHECK(entries(chain) == 0);
}

TEST_CASE("lb: a full table refuses new connections by name and serves the old ones")
{
    Chain chain{config(s1, "", "    max_connections: 2\n")};
    open_at_s1(chain, 1000);
    open_at_s1(chain, 1001);
    CHECK(dropped(chain.run("in", to_vip(1002, SYN))) == "table_full");
    CHECK(entries(chain) == 4);
    CHECK(destination(chain.run("in", to_vip(1000, ACK))) == "10.3.1.2 8080");
    close_at_s1(chain, 1001);
    CHECK(destination(chain.run("in", to_vip(1001, SYN))) == "10.3.1.2 8080");
}

TEST_CASE("lb: from one client port, two VIPs never share a server's port")
{
    const std::string other = "      - {name: web2, vip: 10.2.0.9, port: 80, proto: tcp, backends: [" + s1 +
                              ", {name: s3, address: 10.3.3.2}]}\n";
    Chain chain{config(s1, "", other)};
    const auto to_other = [](std::uint16_t port) {
        return packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "10.2.0.9"},
                      Tcp{.sport = port, .dport = 80, .flags = SYN});
    };
    // Chance lets a few find only s1 in the slots that are tried.
    int refused = 0, elsewhere = 0;
    for (std::uint16_t port = 1000; port < 1200; ++port) {
        open_at_s1(chain, port);
        const auto result = chain.run("in", to_other(port));
        if (result.verdict == EVNF_DROP) {
            CHECK(result.reason == "tuple_taken");
            ++refused;
        } else {
            CHECK(destination(result) == "10.3.3.2 80");
            ++elsewhere;
        }
        CHECK(Address::from(chain.run("out", from_s1(port, ACK)).packet.src).text() == "10.2.0.2");
    }
    CHECK(elsewhere > 150);
    CHECK(refused > 0);
}

TEST_CASE("lb: a tuple that another VIP's connection is through with is free")
{
    const std::string other =
        "      - {name: web2, vip: 10.2.0.9, port: 80, proto: tcp, backends: [" + s1 + "]}\n";
    Chain chain{config(s1, "", other)};
    const auto to_other = packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "10.2.0.9"},
                                 Tcp{.sport = 1234, .dport = 80, .flags = SYN});
    open_at_s1(chain, 1234);
    CHECK(dropped(chain.run("in", to_other)) == "tuple_taken");
    close_at_s1(chain, 1234);
    CHECK(destination(chain.run("in", to_other)) == "10.3.1.2 8080");
    CHECK(Address::from(chain.run("out", from_s1(1234, SYN | ACK)).packet.src).text() == "10.2.0.9");
    CHECK(entries(chain) == 2);
}

TEST_CASE("lb: idle connections expire by their state's timeout, both entries")
{
    Chain chain{config(s1, "", "    timeouts: {syn: 1s, established: 1h, fin: 1s, udp: 1s}\n")};
    open_at_s1(chain, 1000);
    open_at_s1(chain, 1001);
    close_at_s1(chain, 1001);
    chain.run("in", to_vip(1002, SYN));
    chain.run("in", packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Udp{.sport = 1003, .dport = 53}));
    open_at_s1(chain, 1004);
    chain.run("in", to_vip(1004, FIN | ACK));
    CHECK(entries(chain) == 10);
    std::this_thread::sleep_for(std::chrono::milliseconds{1300});
    chain.poll();
    CHECK(state(chain, 1000) == "established");
    CHECK(state(chain, 1004) == "fin");
    CHECK(entries(chain) == 4);
}

TEST_CASE("lb: a connection is idle only if both of its directions are")
{
    Chain chain{config(s1, "", "    timeouts: {udp: 1s}\n")};
    const auto there = packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Udp{.sport = 1003, .dport = 53});
    const auto back =
        packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.2"}, Udp{.sport = 5353, .dport = 1003});
    chain.run("in", there);
    std::this_thread::sleep_for(std::chrono::milliseconds{1300});
    chain.run("out", back); // a stream that only the server feeds
    chain.poll();
    CHECK(state(chain, 1003) == "udp");
}
