// SPDX-License-Identifier: MIT
/// dpi, packet by packet: what is counted where, and what is copied.
#include <arpa/inet.h>

#include <algorithm>
#include <optional>

#include "catch.hpp"
#include "chain.hpp"
#include "dpi_lab.hpp"
#include "dpi_traffic.hpp"
#include "heartbeat.hpp"
#include "packet.hpp"

using namespace evnf::test;
using namespace evnf::test::dpi_lab;
using evnf::Address;

TEST_CASE("dpi: both directions of a flow are counted in one entry, each on its own")
{
    Chain chain{config()};
    Connection connection{chain};
    connection.handshake();
    CHECK(connection.client(PSH | ACK, std::string(100, 'x')).verdict == EVNF_FORWARD);
    const auto flow = the_flow(chain);
    CHECK(text(flow, "proto") == "tcp");
    CHECK(text(flow, "src") == "10.1.0.2");
    CHECK(number(flow, "sport") == 1234);
    CHECK(text(flow, "dst") == "10.2.0.2");
    CHECK(number(flow, "dport") == 80);
    CHECK(number(flow, "packets") == 4);
    CHECK(number(flow, "packets_out") == 3);
    CHECK(number(flow, "packets_back") == 1);
    CHECK(number(flow, "bytes") == 3 * 54 + 154);
}

TEST_CASE("dpi: bytes are those of frames, as the port counts them")
{
    Chain chain{config()};
    auto frame = packet(Eth{}, Ipv4{}, Udp{}, Payload{"x"});
    frame.resize(60);
    chain.run("in", frame);
    CHECK(number(the_flow(chain), "bytes") == 60);
    CHECK(chain.stats().at("ports").at(0).at("bytes") == 60);
}

TEST_CASE("dpi: a flow that is first seen at its SYN-ACK was opened by the other side")
{
    Chain chain{config()};
    Connection connection{chain};
    connection.server(SYN | ACK);
    CHECK(text(the_flow(chain), "src") == "10.1.0.2");
}

TEST_CASE("dpi: an HTTP connection is named, and then nothing more of it is copied")
{
    Chain chain{config()};
    Connection connection{chain};
    CHECK(explained(connection.client(SYN), "state") == "new");
    connection.server(SYN | ACK);
    connection.client(ACK);
    const auto request = connection.client(PSH | ACK, http_request("www.example.org"));
    CHECK(explained(request, "app") == "HTTP");
    CHECK(explained(request, "state") == "inspecting");
    CHECK(explained(connection.server(PSH | ACK, http_response()), "state") == "classified");
    CHECK(the_entry(chain).copies == 2);

    for (int i = 0; i < 5; ++i) connection.client(PSH | ACK, "more");
    CHECK(the_entry(chain).copies == 2);
    const auto flow = the_flow(chain);
    CHECK(text(flow, "app") == "HTTP");
    CHECK(text(flow, "category") == "Web");
    CHECK(text(flow, "confidence") == "DPI");
    CHECK(text(flow, "state") == "classified");
    CHECK(text(flow, "sni") == "www.example.org");
    CHECK(flow.at("offloaded").as_bool());
    CHECK(number(flow, "packets") == 10);
}

TEST_CASE("dpi: a TLS connection is named with its server name, on any port, over IPv6, with a VLAN tag")
{
    Chain chain{config()};
    const auto hello = packet(Eth{}, Vlan{.id = 7}, Ipv6{}, Tcp{.sport = 1234, .dport = 8443, .flags = PSH | ACK},
                              Payload{client_hello("www.example.org")});
    CHECK(explained(chain.run("in", hello), "app") == "TLS");
    const auto flow = the_flow(chain);
    CHECK(text(flow, "app") == "TLS");
    CHECK(text(flow, "sni") == "www.example.org");
    CHECK(text(flow, "src") == "2001:db8:1::2");
    CHECK(number(flow, "vlan") == 7);
}

TEST_CASE("dpi: connections without payload never reach the slow path")
{
    Chain chain{config()};
    for (std::uint16_t port = 1; port <= 50; ++port)
        chain.run("in", packet(Eth{}, Ipv4{}, Tcp{.sport = port, .dport = 80, .flags = SYN}));
    const auto status = chain.query("dpi", "status").as_object();
    CHECK(number(status, "flows") == 50);
    CHECK(number(status, "inspected_flows") == 0);
}

TEST_CASE("dpi: copies stop when the budget is spent")
{
    Chain chain{config("budget: {tcp: 3}")};
    Connection connection{chain, 40000};
    connection.handshake();
    for (int i = 0; i < 5; ++i) connection.client(PSH | ACK, "\x81 nothing that anybody knows");
    CHECK(the_entry(chain).copies == 3);
    CHECK(text(the_flow(chain), "state") == "gave_up");
    CHECK(text(the_flow(chain), "app") == "Unknown");
    CHECK(number(chain.query("dpi", "status").as_object(), "inspections") == 0);
}

TEST_CASE("dpi: with offload none every packet with payload is copied")
{
    Chain chain{config("budget: {tcp: 3}, offload: {mode: none}")};
    Connection connection{chain};
    connection.handshake();
    connection.client(PSH | ACK, http_request("www.example.org"));
    connection.server(PSH | ACK, http_response());
    for (int i = 0; i < 5; ++i) connection.client(PSH | ACK, "more");
    CHECK(the_entry(chain).copies == 7);
    const auto flow = the_flow(chain);
    CHECK(text(flow, "app") == "HTTP");
    CHECK(text(flow, "state") == "classified");
    CHECK_FALSE(flow.at("offloaded").as_bool());
}

TEST_CASE("dpi: packets of every size that fits an XDP frame are copied whole")
{
    for (const std::size_t size : {1, 215, 216, 217, 1495, 1496, 1497, 3000, 3400}) {
        Chain chain{config("budget: {tcp: 1}")};
        Connection connection{chain};
        connection.client(PSH | ACK, std::string(size, 'x'));
        CAPTURE(size);
        CHECK(the_entry(chain).copies == 1);
        CHECK(text(the_flow(chain), "state") == "classified"); // by its port: the record arrived
    }
}

TEST_CASE("dpi: a later fragment is neither matched by what stands where ports would be, nor copied")
{
    Chain chain{config()};
    const auto datagram = packet(Eth{}, Ipv4{}, Udp{.sport = 1234, .dport = 53}, Payload{std::string(16, 'x')});
    chain.run("in", datagram);
    const auto before = chain.query("dpi", "status").as_object();
    Raw looks_like_udp;
    for (auto byte = datagram.begin() + 34; byte != datagram.end(); ++byte)
        looks_like_udp.bytes.push_back(std::to_integer<std::uint8_t>(*byte));
    const auto fragment = packet(Eth{}, Ipv4{.fragment_offset = 3, .protocol = IPPROTO_UDP}, looks_like_udp);
    CHECK(explained(chain.run("in", fragment), "state") == "new");

    const auto all = flows(chain);
    REQUIRE(all.size() == 2);
    for (const auto& flow : all) CHECK(number(flow.as_object(), "packets") == 1);
    const auto later = std::find_if(all.begin(), all.end(), [](const auto& flow) { return flow.at("sport") == 0; });
    REQUIRE(later != all.end());
    CHECK(text(later->as_object(), "state") == "new");
    CHECK(chain.query("dpi", "status").at("inspected_flows") == before.at("inspected_flows"));
}

TEST_CASE("dpi: address families, protocols, ports and VLANs make different flows")
{
    Chain chain{config()};
    std::size_t count = 0;
    for (const auto& frame :
         {packet(Eth{}, Ipv4{}, Udp{}), packet(Eth{}, Ipv6{}, Udp{}), packet(Eth{}, Ipv4{}, Tcp{.dport = 53}),
          packet(Eth{}, Ipv4{}, Udp{.dport = 54}), packet(Eth{}, Vlan{.id = 1}, Ipv4{}, Udp{}),
          packet(Eth{}, Vlan{.id = 2}, Ipv4{}, Udp{}), packet(Eth{}, Vlan{.id = 1}, Vlan{.id = 2}, Ipv4{}, Udp{}),
          packet(Eth{}, Vlan{.id = 2}, Vlan{.id = 1}, Ipv4{}, Udp{}), packet(Eth{}, Ipv4{}, Icmp{}),
          packet(Eth{}, Ipv4{.src = "10.1.0.3"}, Udp{})}) {
        chain.run("in", frame);
        CHECK(flows(chain).size() == ++count);
        chain.run("in", frame);
        CHECK(flows(chain).size() == count);
    }
}

TEST_CASE("dpi: an endpoint that talks to itself, and equal addresses, keep their directions")
{
    Chain chain{config()};
    const Ipv4 self{.src = "10.1.0.2", .dst = "10.1.0.2"};
    chain.run("in", packet(Eth{}, self, Udp{.sport = 9, .dport = 5}));
    chain.run("in", packet(Eth{}, self, Udp{.sport = 5, .dport = 9}));
    const auto flow = the_flow(chain);
    CHECK(number(flow, "sport") == 9);
    CHECK(number(flow, "packets_out") == 1);
    CHECK(number(flow, "packets_back") == 1);
}

TEST_CASE("dpi: what the ring has no room for is counted, marked on its flow, and not charged to the budget")
{
    Chain chain{config()};
    Connection connection{chain, 40000};
    connection.handshake();
    // Runs packets without the slow path's turn after each: the ring fills up.
    const auto frame = packet(Eth{}, Ipv4{}, Udp{.sport = 9, .dport = 40000}, Payload{std::string(1400, '\x81')});
    chain.reload(config("offload: {mode: none}"));
    chain.cost_ns("in", frame, 20000);
    const auto status = chain.query("dpi", "status").as_object();
    const auto lost = number(status, "lost_copies");
    CHECK(lost > 0);
    for (const auto& one : flows(chain)) {
        if (text(one.as_object(), "proto") != "udp") continue;
        CHECK(one.at("gap").as_bool());
        CHECK(number(one.as_object(), "packets") == 20000);
    }
    for (const auto& entry : entries(chain))
        if (entry.flow.key.protocol == IPPROTO_UDP) CHECK(entry.flow.copies + lost == 20000);
    CHECK(chain.stats().at("lost_events").to_number<std::uint64_t>() == lost);
}

TEST_CASE("dpi: without a slow path nothing is copied, nothing is lost, and the budget is kept for when it is back")
{
    Chain chain{config("budget: {tcp: 3}")};
    Connection connection{chain, 40000};
    connection.handshake();
    set_heartbeats(chain, Heartbeat::past);
    for (int i = 0; i < 5; ++i) CHECK(connection.client(PSH | ACK, "neither").verdict == EVNF_FORWARD);
    CHECK(the_entry(chain).copies == 0);
    CHECK(number(chain.query("dpi", "status").as_object(), "inspections") == 0);
    CHECK(chain.stats().at("lost_events") == 0);
    CHECK(number(the_flow(chain), "packets") == 8);
    CHECK(the_flow(chain).at("gap").as_bool());
    set_heartbeats(chain, Heartbeat::alive);
    for (int i = 0; i < 2; ++i) connection.client(PSH | ACK, "neither");
    CHECK(the_entry(chain).copies == 2);
    CHECK(text(the_flow(chain), "state") == "inspecting");
}

TEST_CASE("dpi: a flow with lost copies gets a second budget before it is given up")
{
    Chain chain{config("budget: {tcp: 3}")};
    Connection connection{chain, 40000};
    connection.handshake();
    set_heartbeats(chain, Heartbeat::past);
    connection.client(PSH | ACK, "neither");
    set_heartbeats(chain, Heartbeat::alive);
    for (int i = 0; i < 3; ++i) connection.client(PSH | ACK, "neither");
    CHECK(text(the_flow(chain), "state") == "inspecting");
    CHECK_FALSE(the_flow(chain).at("gap").as_bool());
    for (int i = 0; i < 5; ++i) connection.client(PSH | ACK, "neither");
    CHECK(the_entry(chain).copies == 3);
    CHECK(text(the_flow(chain), "state") == "gave_up");
}

TEST_CASE("dpi: each worker has its share of the flows, and they lose nothing when the number of workers changes")
{
    Chain chain{config("workers: 3")};
    std::vector<Connection> connections;
    for (std::uint16_t port = 1001; port <= 1060; ++port) {
        connections.push_back({chain, port});
        connections.back().handshake();
        connections.back().client(PSH | ACK, http_request("www.example.org"));
    }
    const auto workers = chain.query("dpi", "status").at("workers").as_array();
    CHECK(workers.size() == 3);
    for (const auto& worker : workers) CHECK(number(worker.as_object(), "flows") > 10);

    const unsigned next = GENERATE(1u, 2u, 8u);
    chain.reload(config("workers: " + std::to_string(next)));
    CHECK(chain.query("dpi", "status").at("workers").as_array().size() == next);
    for (auto& connection : connections) {
        connection.server(PSH | ACK, http_response());
        connection.client(PSH | ACK, http_request("www.example.org"));
    }
    for (const auto& one : flows(chain)) {
        CHECK(text(one.as_object(), "app") == "HTTP");
        CHECK(text(one.as_object(), "state") == "classified");
        CHECK(text(one.as_object(), "sni") == "www.example.org");
    }
    const auto status = chain.query("dpi", "status").as_object();
    CHECK(number(status, "inspected_flows") == 60);
    CHECK(number(status, "lost_copies") == 0);
}

TEST_CASE("dpi: copies above the limit are refused, counted and marked on the flow; the packets go on")
{
    constexpr std::uint64_t kPackets = 20000, kPerSecond = 1000, kBurst = 100;
    Chain chain{config("copy_limit: 1000/s, offload: {mode: none}")};
    const evnf::PinnedToCpu pinned; // each CPU has its own limit
    const auto start = std::chrono::steady_clock::now();
    chain.cost_ns("in", packet(Eth{}, Ipv4{}, Udp{.dport = 40000}, Payload{"\x81\x81\x81\x81"}), kPackets);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    const auto copies = the_entry(chain).copies;
    CHECK(copies >= kBurst);
    // What a jiffy earns may have been waiting when the time began.
    CHECK(copies <= kBurst + static_cast<std::uint64_t>(took.count() * kPerSecond) + kPerSecond / 100);
    CHECK(number(chain.query("dpi", "status").as_object(), "lost_copies") == kPackets - copies);
    CHECK(chain.stats().at("lost_events").to_number<std::uint64_t>() == kPackets - copies);
    CHECK(the_flow(chain).at("gap").as_bool());
    CHECK(chain.stats().at("ports").at(0).at("forward").to_number<std::uint64_t>() == kPackets);
}

TEST_CASE("dpi: what was refused for now is copied later: the limit earns anew")
{
    Chain chain{config("copy_limit: 10/s, offload: {mode: none}")};
    const evnf::PinnedToCpu pinned;
    const auto copies_after_a_packet = [&] {
        chain.run("in", packet(Eth{}, Ipv4{}, Udp{.dport = 40000}, Payload{"\x81\x81\x81\x81"}));
        return the_entry(chain).copies;
    };
    REQUIRE(copies_after_a_packet() == 1);
    const auto start = std::chrono::steady_clock::now();
    while (copies_after_a_packet() < 3) REQUIRE(std::chrono::steady_clock::now() - start < std::chrono::seconds{10});
    CHECK(std::chrono::steady_clock::now() - start > std::chrono::milliseconds{180}); // two, less a jiffy
}
