// SPDX-License-Identifier: MIT
/// dpi: what is done with flows once they are known: policies, elephants, inspection once more; and what is never inspected.
#include <algorithm>

#include "catch.hpp"
#include "chain.hpp"
#include "dpi_lab.hpp"
#include "dpi_traffic.hpp"
#include "packet.hpp"

using namespace evnf::test;
using namespace evnf::test::dpi_lab;

TEST_CASE("dpi: a policy drops an application's packets once it is known, not before, and counts them; others go on")
{
    Chain chain{config("policies: [{app: HTTP, action: drop}]")};
    Connection connection{chain};
    connection.handshake();
    CHECK(connection.client(PSH | ACK, http_request("www.example.org")).verdict == EVNF_FORWARD);
    CHECK(connection.server(PSH | ACK, http_response()).verdict == EVNF_FORWARD); // the verdict comes with it
    const auto dropped = connection.client(PSH | ACK, "more");
    CHECK(dropped.verdict == EVNF_DROP);
    CHECK(dropped.reason == "policy");
    CHECK(connection.server(ACK).verdict == EVNF_DROP);
    CHECK(number(the_flow(chain), "packets") == 7); // dropped ones are counted as the flow's
    const auto policy = chain.query("dpi", "policies").at(0).as_object();
    CHECK(text(policy, "policy") == "app HTTP: drop");
    CHECK(number(policy, "packets") == 2);
    CHECK(chain.run("in", packet(Eth{}, Ipv4{}, Udp{.dport = 40000}, Payload{"\x81"})).verdict == EVNF_FORWARD);
}

TEST_CASE("dpi: a policy marks packets with a DSCP, IPv4 and IPv6, keeps ECN, and the checksum is right")
{
    Chain chain{config("budget: {udp: 2}, policies: [{app: DNS, action: mark, dscp: ef}]")};
    const std::string query{"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07" "example\x03org\x00\x00\x01\x00\x01", 33};
    const std::string answer{"\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07" "example\x03org\x00\x00\x01\x00\x01", 33};
    const auto ask = [&](std::uint8_t tos) { return packet(Eth{}, Ipv4{.tos = tos}, Udp{.sport = 999, .dport = 53}, Payload{query}); };
    chain.run("in", ask(2));
    chain.run("out", packet(Eth{}, Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2"}, Udp{.sport = 53, .dport = 999}, Payload{answer}));
    REQUIRE(text(the_flow(chain), "state") == "classified");
    CHECK(chain.run("in", ask(2)).frame == ask(46 << 2 | 2));
    const auto ask6 = [&](std::uint8_t tos) { return packet(Eth{}, Ipv6{.traffic_class = tos}, Udp{.sport = 999, .dport = 53}, Payload{query}); };
    chain.run("in", ask6(1));
    chain.run("out", packet(Eth{}, Ipv6{.src = "2001:db8:2::2", .dst = "2001:db8:1::2"}, Udp{.sport = 53, .dport = 999}, Payload{answer}));
    CHECK(chain.run("in", ask6(1)).frame == ask6(46 << 2 | 1));
}

TEST_CASE("dpi: the first policy that matches decides, and a reload replaces policies while verdicts and counts stay")
{
    Chain chain{config("policies: [{category: Web, action: count}, {app: HTTP, action: drop}]")};
    Connection connection{chain};
    connection.handshake();
    connection.client(PSH | ACK, http_request("www.example.org"));
    connection.server(PSH | ACK, http_response());
    CHECK(connection.client(ACK).verdict == EVNF_FORWARD);
    chain.reload(config("policies: [{app: HTTP, action: drop}, {category: Web, action: count}]"));
    CHECK(connection.client(ACK).verdict == EVNF_DROP);
    const auto policies = chain.query("dpi", "policies");
    CHECK(number(policies.at(0).as_object(), "packets") == 1);
    CHECK(number(policies.at(1).as_object(), "packets") == 1);
    chain.reload(config());
    CHECK(connection.client(ACK).verdict == EVNF_FORWARD);
}

TEST_CASE("dpi: flows of prefixes that are never inspected are counted and not copied")
{
    Chain chain{config("never_inspect: [10.2.0.0/16, \"2001:db8:2::/48\"]")};
    Connection connection{chain};
    connection.handshake();
    connection.client(PSH | ACK, http_request("www.example.org"));
    CHECK(text(the_flow(chain), "state") == "gave_up");
    CHECK(number(the_flow(chain), "packets") == 4);
    CHECK(the_entry(chain).copies == 0);
    chain.run("in", packet(Eth{}, Ipv6{.src = "2001:db8:2::2", .dst = "2001:db8:1::2"}, Udp{}, Payload{"x"}));
    for (const auto& entry : entries(chain)) CHECK(entry.flow.copies == 0);
    chain.run("in", packet(Eth{}, Ipv4{.src = "10.9.0.1", .dst = "10.8.0.2"}, Udp{}, Payload{"x"}));
    CHECK(std::ranges::any_of(entries(chain), [](const DpiEntry& entry) { return entry.flow.copies == 1; }));
}

TEST_CASE("dpi: elephants are offloaded once they are big enough; mice stay, and are not copied either")
{
    Chain chain{config("offload: {mode: elephants, apps: [HTTP], min_packets: 10}")};
    Connection connection{chain};
    connection.handshake();
    connection.client(PSH | ACK, http_request("www.example.org"));
    connection.server(PSH | ACK, http_response());
    CHECK(text(the_flow(chain), "state") == "classified");
    CHECK_FALSE(the_flow(chain).at("offloaded").as_bool());
    const auto copies = the_entry(chain).copies;
    for (int i = 0; i < 5; ++i) connection.client(PSH | ACK, "more");
    CHECK(the_entry(chain).copies == copies);
    const evnf::dpi::Offload elephants{.mode = evnf::dpi::Offload::Mode::elephants, .apps = {"HTTP"}, .min_packets = 10};
    DpiTable table{chain, elephants};
    const auto reconsider = [&] {
        for (auto& set : table->sets())
            for (unsigned way = 0; way < DPI_WAYS; ++way) table->reconsider({&set, way, set.heads[way]}, 0);
    };
    reconsider();
    CHECK(the_flow(chain).at("offloaded").as_bool());
}

TEST_CASE("dpi: a flow that is inspected once more keeps its name and its policy meanwhile, and its copies begin anew")
{
    Chain chain{config("budget: {tcp: 4}, policies: [{app: HTTP, action: count}]")};
    Connection connection{chain};
    connection.handshake();
    connection.client(PSH | ACK, http_request("www.example.org"));
    connection.server(PSH | ACK, http_response());
    const auto id = dpi_verdict_id(the_entry(chain).verdict);
    DpiTable table{chain, {.reinspect = 1}};
    connection.client(ACK);
    for (auto& set : table->sets())
        for (unsigned way = 0; way < DPI_WAYS; ++way)
            if (set.heads[way] & DPI_USED) table->reconsider({&set, way, set.heads[way]}, 0);
    CHECK(dpi_verdict_id(the_entry(chain).verdict) != id);
    CHECK(text(the_flow(chain), "app") == "HTTP");
    CHECK(text(the_flow(chain), "state") == "inspecting");
    for (int i = 0; i < 4; ++i) connection.client(PSH | ACK, "\x81 nothing that anybody knows");
    CHECK(text(the_flow(chain), "app") == "HTTP");
    CHECK(text(the_flow(chain), "state") == "classified");
    CHECK(number(chain.query("dpi", "policies").at(0).as_object(), "packets") == 5);
}
