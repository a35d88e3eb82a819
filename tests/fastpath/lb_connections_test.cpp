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
    CHECK(connections(chain) == 1);
    CHECK(kept(chain) == 0);
    const auto late = from_s1(1234, ACK);
    CHECK(forwarded_as(chain.run("out", late), late));
}

TEST_CASE("lb: with when_down: reset, a connection that loses its server is reset, and the client's next one begins elsewhere")
{
    Chain chain{config(s1)};
    open_at_s1(chain, 1234);
    chain.run("in", to_vip(1235, SYN)); // an opening moves: nobody relies on it yet
    chain.reload(config(s1_down + "," + s2, ", when_down: reset"));
    const auto last = packet(Eth{}, Ipv4{}, Tcp{.sport = 1234, .seq = 7, .ack = 9, .flags = PSH | ACK}, Payload{"are you there"});
    const auto answer = chain.run("in", last);
    CHECK(answer.verdict == EVNF_REPLY);
    CHECK(answer.frame == packet(Eth{.dst = "02:00:00:00:00:02", .src = "02:00:00:00:00:01"},
                                 Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2", .dont_fragment = true},
                                 Tcp{.sport = 80, .dport = 1234, .seq = 9, .flags = RST, .window = 0}));
    CHECK(state(chain, 1234) == "none");
    CHECK(destination(chain.run("in", to_vip(1234, SYN))) == "10.3.2.2 80");
    CHECK(destination(chain.run("in", to_vip(1235, SYN))) == "10.3.2.2 80");
}

TEST_CASE("lb: with when_down: reset, a SYN, a reset and what was over already are not answered")
{
    for (const auto flags : {SYN, RST}) {
        Chain chain{config(s1)};
        open_at_s1(chain, 1234);
        chain.reload(config(s1_down + "," + s2, ", when_down: reset"));
        CHECK(destination(chain.run("in", to_vip(1234, flags))) == "10.3.2.2 80");
    }
    Chain chain{config(s1)};
    open_at_s1(chain, 1234);
    close_at_s1(chain, 1234);
    chain.reload(config(s1_down + "," + s2, ", when_down: reset"));
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.2.2 80");
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
    CHECK(kept(chain) == 1);
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
        CHECK(connections(chain) == 1);
        CHECK(kept(chain) == 0);
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

TEST_CASE("lb: a connection met in its midst is picked up, and is established when both sides have agreed")
{
    Chain chain{config(s1)};
    CHECK(destination(chain.run("in", to_vip(1234, ACK, "data"))) == "10.3.1.2 8080");
    CHECK(state(chain, 1234) == "syn");
    CHECK(Address::from(chain.run("out", from_s1(1234, ACK)).packet.src).text() == "10.2.0.2");
    CHECK(state(chain, 1234) == "syn");
    chain.run("in", to_vip(1234, ACK, "data"));
    CHECK(state(chain, 1234) == "established");
}

TEST_CASE("lb: a reset of an unknown connection reaches the server and leaves no entry")
{
    Chain chain{config(s1)};
    CHECK(destination(chain.run("in", to_vip(1234, RST))) == "10.3.1.2 8080");
    CHECK(destination(chain.run("in", to_vip(1234, RST | ACK))) == "10.3.1.2 8080");
    CHECK(kept(chain) == 0);
}

TEST_CASE("lb: where a set is full that is counted: more connections are served without being kept, both ways")
{
    Chain chain{config(s1, "", "    max_connections: 1\n")};
    for (std::uint16_t port = 1000; port < 1000 + LB_KEPT_WAYS; ++port) open_at_s1(chain, port);
    CHECK(destination(chain.run("in", to_vip(2000, SYN))) == "10.3.1.2 8080");
    for (int i = 0; i < 3; ++i) {
        CHECK(Address::from(chain.run("out", from_s1(2000, SYN | ACK)).packet.src).text() == "10.2.0.2");
        CHECK(destination(chain.run("in", to_vip(2000, ACK))) == "10.3.1.2 8080");
    }
    CHECK(tracked(chain, "table_full") == 3);
    CHECK(state(chain, 2000) == "syn");
    CHECK(kept(chain) == LB_KEPT_WAYS);
    CHECK(destination(chain.run("in", to_vip(2001, SYN))) == "10.3.1.2 8080");
    CHECK(tracked(chain, "replaced") == 1);
    CHECK(state(chain, 2000) == "none");
    for (std::uint16_t port = 1000; port < 1000 + LB_KEPT_WAYS; ++port) CHECK(state(chain, port) == "established");
}

TEST_CASE("lb: a table of another size has the connections of the one before, and says how many it has no room for")
{
    Chain chain{config(s1, "", "    max_connections: 100\n")};
    for (std::uint16_t port = 1000; port < 1020; ++port) open_at_s1(chain, port);
    chain.run("in", to_vip(2000, SYN));
    chain.reload(config(s2, "", "    max_connections: 5000\n"));
    CHECK(kept(chain) == 20);
    CHECK(state(chain, 2000) == "syn");
    for (std::uint16_t port = 1000; port < 1020; ++port) {
        CHECK(destination(chain.run("in", to_vip(port, ACK))) == "10.3.1.2 8080");
        CHECK(Address::from(chain.run("out", from_s1(port, ACK)).packet.src).text() == "10.2.0.2");
    }
    for (std::uint16_t port = 3000; port < 3200; ++port) chain.run("in", to_vip(port, SYN));
    chain.reload(config(s2, "", "    max_connections: 1\n"));
    CHECK(kept(chain) == LB_KEPT_WAYS); // no opening has the place of one
}

TEST_CASE("lb: over new_flow_limit connections are served without an entry, and get one later")
{
    Chain chain{config(s1, "", "    new_flow_limit: 10/s\n")};
    for (std::uint16_t port = 1000; port < 1003; ++port) {
        CHECK(destination(chain.run("in", to_vip(port, SYN))) == "10.3.1.2 8080");
        CHECK(Address::from(chain.run("out", from_s1(port, SYN | ACK)).packet.src).text() == "10.2.0.2");
        CHECK(destination(chain.run("in", to_vip(port, ACK))) == "10.3.1.2 8080");
        CHECK(Address::from(chain.run("out", from_s1(port, ACK, "text")).packet.src).text() == "10.2.0.2");
    }
    CHECK(tracked(chain, "kept") + tracked(chain, "over_limit") == 3);
    CHECK(tracked(chain, "over_limit") > 0);
    CHECK(kept(chain) == tracked(chain, "kept"));
    std::this_thread::sleep_for(std::chrono::milliseconds{150});
    chain.run("in", to_vip(1002, ACK, "more"));
    CHECK(state(chain, 1002) == "established");
}

TEST_CASE("lb: a service's connections leave packets between the same client and server alone that are none of theirs")
{
    Chain chain{config(s1, "", "    max_connections: 1\n")};
    for (std::uint16_t port = 900; port < 900 + LB_KEPT_WAYS; ++port) open_at_s1(chain, port); // from here on there is no room
    chain.run("in", to_vip(1000, SYN));
    chain.run("out", from_s1(1000, SYN | ACK));
    chain.run("in", to_vip(1000, ACK));
    for (const auto& direct : {from_s1(1001, SYN | ACK), from_s1(1001, ACK, "text"),
                               packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.2"}, Tcp{.sport = 8081, .dport = 1000}),
                               packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.2"}, Udp{.sport = 8080, .dport = 1000}),
                               packet(Eth{}, Ipv4{.src = "10.3.1.3", .dst = "10.1.0.2"}, Tcp{.sport = 8080, .dport = 1000})})
        CHECK(forwarded_as(chain.run("out", direct), direct));
}

TEST_CASE("lb: a flood of first packets fills no table of connections and takes nothing from those that stand")
{
    Chain chain{config(s1)};
    std::mt19937 random{1};
    open_at_s1(chain, 1000);
    for (int i = 0; i < 20000; ++i)
        REQUIRE(chain.run("in", packet(Eth{}, Ipv4{.src = random_address(random, false), .dst = "10.2.0.2"},
                                       Tcp{.sport = static_cast<std::uint16_t>(2000 + random() % 60000), .dport = 80, .flags = SYN}))
                    .verdict == EVNF_FORWARD);
    CHECK(kept(chain) == 1);
    CHECK(tracked(chain, "connections") == 1);
    CHECK(tracked(chain, "opened") + tracked(chain, "unrecorded") == 20001);
    CHECK(state(chain, 1000) == "established");
    open_at_s1(chain, 1001); // and newcomers get through
}

TEST_CASE("lb: a refused connection is over: the next SYN selects anew")
{
    Chain chain{config(s1)};
    chain.run("in", to_vip(1234, SYN));
    CHECK(Address::from(chain.run("out", from_s1(1234, RST | ACK)).packet.src).text() == "10.2.0.2");
    CHECK(connections(chain) == 0);
    chain.reload(config(s2));
    CHECK(destination(chain.run("in", to_vip(1234, SYN))) == "10.3.2.2 80");
}

TEST_CASE("lb: a RST ends a connection only if its sequence number is near what was acknowledged")
{
    const auto server = [](std::uint32_t seq, std::uint32_t ack, std::uint8_t flags) {
        return packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.2"},
                      Tcp{.sport = 8080, .dport = 1234, .seq = seq, .ack = ack, .flags = flags});
    };
    const auto client = [](std::uint32_t seq, std::uint32_t ack, std::uint8_t flags) {
        return packet(Eth{}, Ipv4{}, Tcp{.sport = 1234, .seq = seq, .ack = ack, .flags = flags});
    };
    constexpr std::uint32_t of_server = 3'000'000'000, of_client = 10;
    for (const bool from_server : {true, false}) {
        Chain chain{config(s1)};
        chain.run("in", client(of_client, 0, SYN));
        chain.run("out", server(of_server, of_client, SYN | ACK));
        chain.run("in", client(of_client, of_server, ACK));
        chain.run("out", server(of_server, of_client, ACK));
        const auto reset = [&](std::uint32_t off) {
            return from_server ? chain.run("out", server(of_server + off, 0, RST)) : chain.run("in", client(of_client + off, 0, RST));
        };
        CHECK(reset(1u << 30).verdict == EVNF_FORWARD); // its receiver judges for itself
        CHECK(state(chain, 1234) == "established");
        reset(1000);
        CHECK(state(chain, 1234) == "closed");
    }
}

TEST_CASE("lb: what a moment ago was one connection is another one with the next SYN, also for those packets that ask no table")
{
    Chain chain{config(s1)};
    open_at_s1(chain, 1234);
    for (int i = 0; i < 3; ++i) CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.1.2 8080");
    chain.run("in", to_vip(1234, RST));
    chain.reload(config(s2));
    CHECK(destination(chain.run("in", to_vip(1234, SYN))) == "10.3.2.2 80");
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.2.2 80");
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == "10.3.2.2 80");
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
    CHECK(connections(chain) == 1);
}

TEST_CASE("lb: idle connections expire by their state's timeout")
{
    Chain chain{config(s1, "", "    max_connections: 1000\n    timeouts: {syn: 1s, established: 1h, fin: 1s, udp: 1s}\n")};
    open_at_s1(chain, 1000);
    open_at_s1(chain, 1001);
    close_at_s1(chain, 1001);
    chain.run("in", to_vip(1002, SYN));
    chain.run("in", packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Udp{.sport = 1003, .dport = 53}));
    open_at_s1(chain, 1004);
    chain.run("in", to_vip(1004, FIN | ACK));
    CHECK(kept(chain) == 3);
    CHECK(connections(chain) == 5);
    std::this_thread::sleep_for(std::chrono::milliseconds{1300});
    chain.poll();
    CHECK(state(chain, 1000) == "established");
    CHECK(state(chain, 1004) == "fin");
    CHECK(kept(chain) == 2);
    CHECK(connections(chain) == 2);
}

TEST_CASE("lb: a connection is idle only if both of its directions are")
{
    Chain chain{config(s1, "", "    max_connections: 1000\n    timeouts: {udp: 1s}\n")};
    const auto there = packet(Eth{}, Ipv4{.dst = "10.2.0.2"}, Udp{.sport = 1003, .dport = 53});
    const auto back =
        packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.2"}, Udp{.sport = 5353, .dport = 1003});
    for (const auto& frame : {there, there}) {
        chain.run("in", frame);
        chain.run("out", back);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{1300});
    chain.run("out", back); // a stream that only the server feeds
    chain.poll();
    CHECK(state(chain, 1003) == "udp");
}
