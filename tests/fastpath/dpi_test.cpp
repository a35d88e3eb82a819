// SPDX-License-Identifier: MIT
/// dpi, packet by packet: what is counted where, what is copied, what becomes of verdicts.
#include <arpa/inet.h>

#include <algorithm>
#include <optional>

#include "../../plugins/dpi/inspector.hpp"
#include "catch.hpp"
#include "chain.hpp"
#include "dpi_lab.hpp"
#include "dpi_traffic.hpp"
#include "heartbeat.hpp"
#include "packet.hpp"

using namespace evnf::test;
using evnf::Address;

namespace {

std::string config(const std::string& settings = "")
{
    return "ports: [{name: in, chain: [dpi]}, {name: out, chain: [dpi]}]\nplugins: {dpi: {" + settings + "}}\n";
}

/// A TCP connection between 10.1.0.2:1234 and 10.2.0.2.
struct Connection {
    Chain& chain;
    std::uint16_t server_port = 80;
    std::uint32_t client_seq = 1000, server_seq = 5000;

    Result client(std::uint8_t flags, const std::string& text = "")
    {
        const Tcp tcp{.sport = 1234, .dport = server_port, .seq = client_seq, .ack = server_seq, .flags = flags};
        client_seq += static_cast<std::uint32_t>(text.size()) + ((flags & (SYN | FIN)) ? 1 : 0);
        return chain.run("in", packet(Eth{}, Ipv4{}, tcp, Payload{text}));
    }
    Result server(std::uint8_t flags, const std::string& text = "")
    {
        const Tcp tcp{.sport = server_port, .dport = 1234, .seq = server_seq, .ack = client_seq, .flags = flags};
        server_seq += static_cast<std::uint32_t>(text.size()) + ((flags & (SYN | FIN)) ? 1 : 0);
        return chain.run("out", packet(Eth{}, Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2"}, tcp, Payload{text}));
    }
    void handshake()
    {
        client(SYN);
        server(SYN | ACK);
        client(ACK);
    }
};

/// Those that have not ended.
boost::json::array flows(Chain& chain)
{
    boost::json::array alive;
    const auto all = chain.query("dpi", "flows");
    for (const auto& flow : all.as_array())
        if (!flow.at("ended").as_bool()) alive.push_back(flow);
    return alive;
}

/// The only flow, as `evnfctl dpi flows` shows it.
boost::json::object the_flow(Chain& chain)
{
    const auto all = flows(chain);
    REQUIRE(all.size() == 1);
    return all[0].as_object();
}

dpi_flow the_entry(Chain& chain)
{
    const auto all = entries(chain);
    REQUIRE(all.size() == 1);
    return all[0].flow;
}

std::string text(const boost::json::object& object, const char* key)
{
    return std::string{object.at(key).as_string()};
}

std::uint64_t number(const boost::json::object& object, const char* key)
{
    return object.at(key).to_number<std::uint64_t>();
}

/// What `evnfctl dpi apps` says of an application; empty where it does not know it.
boost::json::object app(Chain& chain, const std::string& name)
{
    const auto apps = chain.query("dpi", "apps");
    for (const auto& one : apps.as_array())
        if (one.at("app").as_string() == name) return one.as_object();
    return {};
}

std::string explained(const Result& result, const char* key)
{
    return text(result.plugins.at("dpi").as_object(), key);
}

using Ended = std::vector<std::pair<dpi_flow, evnf::dpi::FlowEnd>>;

/// One pass of expiry, `later` jiffies after the last packet of the flows that are there: what ended.
Ended expire(Chain& chain, std::uint64_t later, const evnf::dpi::IdleTimeouts& timeouts)
{
    Ended all;
    std::uint64_t last = 0;
    for (const auto& entry : entries(chain)) last = std::max<std::uint64_t>(last, (entry.head & DPI_SEEN) << DPI_SEEN_SHIFT);
    DpiTable table{chain};
    evnf::dpi::Inspector inspector{250};
    inspector.use(std::make_shared<evnf::dpi::Engines>("", 1), [](const auto&) { return true; });
    evnf::dpi::Expiry expiry;
    const auto note = [&](const dpi_flow& flow, std::uint64_t, const evnf::dpi::Knowledge&, evnf::dpi::FlowEnd why) { all.emplace_back(flow, why); };
    while (!expiry.part(*table, inspector, timeouts, last + later, note)) {}
    return all;
}

} // namespace

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

TEST_CASE("dpi: a retransmitted SYN changes nothing; a SYN after payload begins a new flow")
{
    Chain chain{config()};
    Connection first{chain};
    first.client(SYN);
    const auto id = dpi_verdict_id(the_entry(chain).verdict);
    first.client_seq = 1000;
    first.client(SYN);
    CHECK(dpi_verdict_id(the_entry(chain).verdict) == id);
    CHECK(number(the_flow(chain), "packets") == 2);
    first.server(SYN | ACK);
    first.client(PSH | ACK, http_request("www.example.org"));
    first.server(PSH | ACK, http_response());
    CHECK(text(the_flow(chain), "state") == "classified");

    Connection second{chain, 80, 9000, 7000};
    CHECK(explained(second.client(SYN), "state") == "new");
    const auto entry = the_entry(chain);
    CHECK(dpi_verdict_id(entry.verdict) != id);
    CHECK(dpi_verdict_state(entry.verdict) == DPI_NEW);
    CHECK(entry.copies == 0);
    CHECK(number(the_flow(chain), "packets") == 1);
    // The ended flow and the one that began: not a packet is missing.
    CHECK(number(app(chain, "HTTP"), "flows") == 2);
    CHECK(number(app(chain, "HTTP"), "packets") == 6);

    second.server(SYN | ACK);
    second.client(PSH | ACK, client_hello("other.example.org"));
    CHECK(text(the_flow(chain), "app") == "TLS");
}

TEST_CASE("dpi: a verdict that comes when its flow is over is refused, counted, and not the next flow's")
{
    Chain chain{config()};
    DpiTable table{chain};
    Connection first{chain};
    first.client(PSH | ACK, "x");
    const auto old = the_entry(chain);
    evnf::dpi::Label label;
    label.app = "HTTP";
    label.confidence = DPI_CONFIDENCE_DPI;
    const evnf::dpi::Verdict late{old.key, dpi_verdict_id(old.verdict), DPI_CLASSIFIED, label};

    Connection{chain, 80, 9000}.client(SYN);
    const auto ended = expire(chain, 0, {.tcp = 1'000'000, .udp = 1'000'000, .closed = 1'000'000});
    REQUIRE(ended.size() == 1);
    CHECK(ended[0].second == evnf::dpi::FlowEnd::reopened);
    CHECK(ended[0].first.packets[0] + ended[0].first.packets[1] == 1);
    CHECK_FALSE(table->conclude(late));
    CHECK(dpi_verdict_state(the_entry(chain).verdict) == DPI_NEW);
    CHECK(number(chain.query("dpi", "status").as_object(), "stale_verdicts") == 1);

    const auto now = the_entry(chain);
    CHECK(table->conclude({now.key, dpi_verdict_id(now.verdict), DPI_CLASSIFIED, label}));
    CHECK(text(the_flow(chain), "state") == "classified");
}

TEST_CASE("dpi: a flow with packets since it was looked at is not ended")
{
    Chain chain{config()};
    DpiTable table{chain};
    chain.run("in", packet(Eth{}, Ipv4{}, Udp{}));
    for (auto& set : table->sets())
        for (unsigned way = 0; way < DPI_WAYS; ++way)
            if (set.heads[way] & DPI_USED) CHECK_FALSE(table->take({&set, way, set.heads[way] - 1}));
    CHECK(flows(chain).size() == 1);
}

TEST_CASE("dpi: idle flows expire by protocol, closed ones soon, and their counters stay with the application")
{
    Chain chain{config()};
    Connection closed{chain};
    closed.handshake();
    closed.client(PSH | ACK, http_request("www.example.org"));
    closed.server(PSH | ACK, http_response());
    closed.client(FIN | ACK);
    closed.server(FIN | ACK);
    Connection half_closed{chain, 81};
    half_closed.handshake();
    half_closed.client(FIN | ACK);
    chain.run("in", packet(Eth{}, Ipv4{}, Udp{.dport = 40000}, Payload{"\x81?"}));
    const evnf::dpi::IdleTimeouts timeouts{.tcp = 1'000'000, .udp = 500'000, .closed = 100'000};

    expire(chain, 99'000, timeouts);
    CHECK(flows(chain).size() == 3);
    expire(chain, 200'000, timeouts);
    CHECK(flows(chain).size() == 2);
    CHECK(number(app(chain, "HTTP"), "flows") == 1);
    CHECK(number(app(chain, "HTTP"), "packets") == 7);
    expire(chain, 600'000, timeouts);
    CHECK(text(the_flow(chain), "proto") == "tcp");
    CHECK(number(app(chain, "Unknown"), "flows") == 2);
    expire(chain, 2'000'000, timeouts);
    CHECK(flows(chain).empty());
    CHECK(number(app(chain, "HTTP"), "packets") == 7);
    CHECK(number(app(chain, "Unknown"), "flows") == 2);
    CHECK(number(app(chain, "Unknown"), "packets") == 5);
}

TEST_CASE("dpi: flows, verdicts and totals live through a reload")
{
    Chain chain{config()};
    Connection connection{chain};
    connection.handshake();
    connection.client(PSH | ACK, http_request("www.example.org"));
    const auto id = dpi_verdict_id(the_entry(chain).verdict);
    chain.reload(config("budget: {tcp: 4}, idle_timeout: {tcp: 10s}"));
    connection.server(PSH | ACK, http_response());
    CHECK(dpi_verdict_id(the_entry(chain).verdict) == id);
    const auto flow = the_flow(chain);
    CHECK(text(flow, "app") == "HTTP");
    CHECK(text(flow, "state") == "classified");
    CHECK(text(flow, "sni") == "www.example.org");
    CHECK(number(flow, "packets") == 5);
}

TEST_CASE("dpi: two tables over the same state, as during a reload, agree on the numbers of applications")
{
    Chain chain{config()};
    const DpiMaps maps{chain};
    evnf::dpi::Apps former{maps}, next{maps};
    const auto label = [](const std::string& app) {
        evnf::dpi::Label made;
        made.app = app;
        made.confidence = DPI_CONFIDENCE_DPI;
        return made;
    };
    const auto a = former.number(label("A"));
    const auto b = next.number(label("B"));
    CHECK(a != b);
    CHECK(next.number(label("A")) == a);
    CHECK(former.name(b).first == "B");
    CHECK(former.number({}) == 0);
}

TEST_CASE("dpi: a scan takes the places of what is quiet, never that of an offloaded flow; every packet is accounted for")
{
    Chain chain{config("max_flows: 1024")};
    Connection kept{chain};
    kept.handshake();
    kept.client(PSH | ACK, http_request("www.example.org"));
    kept.server(PSH | ACK, http_response());
    constexpr std::uint32_t kScan = 20000;
    for (std::uint32_t i = 0; i < kScan; ++i) {
        const auto frame = packet(Eth{}, Ipv4{.src = "192.0.2.1"}, Tcp{.sport = static_cast<std::uint16_t>(i), .flags = SYN});
        CHECK(chain.run("in", frame).verdict == EVNF_FORWARD);
    }
    const auto status = chain.query("dpi", "status").as_object();
    CHECK(number(status, "max_flows") == 1024);
    CHECK(number(status, "flows") <= 2 * 1024 + 14); // all places
    CHECK(number(status, "evicted_flows") > kScan / 2);
    CHECK(number(status, "packets") + number(status, "evicted_packets") + number(status, "untracked_packets") == kScan + 5);
    const auto all = flows(chain);
    CHECK(std::ranges::any_of(all, [](const auto& flow) { return flow.at("offloaded").as_bool() && flow.at("packets") == 5; }));
}

TEST_CASE("dpi: what finds no room is counted, and goes on")
{
    Chain chain{config("max_flows: 1024")};
    DpiTable table{chain};
    for (auto& set : table->sets()) // all places are protected
        for (auto& head : set.heads) head = DPI_USED | DPI_OFFLOADED;
    CHECK(chain.run("in", packet(Eth{}, Ipv4{}, Udp{}, Payload{"1234"})).verdict == EVNF_FORWARD);
    CHECK(number(chain.query("dpi", "status").as_object(), "untracked_packets") == 1);
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

TEST_CASE("dpi: a table of another size takes the flows over, with verdicts, counts and protection")
{
    Chain chain{config("max_flows: 1024")};
    Connection connection{chain};
    connection.handshake();
    connection.client(PSH | ACK, http_request("www.example.org"));
    connection.server(PSH | ACK, http_response());
    for (std::uint16_t port = 1; port <= 200; ++port) chain.run("in", packet(Eth{}, Ipv4{}, Udp{.sport = port, .dport = 40000}, Payload{"\x81"}));
    for (const auto* size : {"max_flows: 4096", "max_flows: 2048"}) {
        chain.reload(config(size));
        CHECK(flows(chain).size() == 201);
        CHECK(connection.client(ACK).verdict == EVNF_FORWARD);
        chain.run("in", packet(Eth{}, Ipv4{}, Udp{.sport = 1, .dport = 40000}, Payload{"\x81"}));
    }
    CHECK(flows(chain).size() == 201);
    const auto top = chain.query("dpi", "top", {"1"}).at(0).as_object();
    CHECK(text(top, "app") == "HTTP");
    CHECK(number(top, "packets") == 7);
    const auto all = flows(chain);
    CHECK(std::ranges::count_if(all, [](const auto& flow) { return flow.at("offloaded").as_bool() && flow.at("app") == "HTTP"; }) == 1);
}

TEST_CASE("dpi: a place that a killed daemon left half written is free again after two passes")
{
    Chain chain{config()};
    DpiTable table{chain};
    auto& set = table->sets()[0];
    set.heads[3] = DPI_BUSY | DPI_VERSION;
    evnf::dpi::Inspector inspector{250};
    inspector.use(std::make_shared<evnf::dpi::Engines>("", 1), [](const auto&) { return true; });
    evnf::dpi::Expiry expiry;
    const auto pass = [&] {
        while (!expiry.part(*table, inspector, {.tcp = 1000, .udp = 1000, .closed = 1000}, 0, [](const auto&...) {})) {}
    };
    pass();
    CHECK(set.heads[3] & DPI_BUSY);
    pass();
    CHECK(set.heads[3] == DPI_VERSION);
}
