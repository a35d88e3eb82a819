// SPDX-License-Identifier: MIT
/// dpi: the lives of flows in the table: how they begin anew, end, give way, and outlive reloads.
#include <algorithm>

#include "catch.hpp"
#include "chain.hpp"
#include "dpi_lab.hpp"
#include "dpi_traffic.hpp"
#include "packet.hpp"

using namespace evnf::test;
using namespace evnf::test::dpi_lab;

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
