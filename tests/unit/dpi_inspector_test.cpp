// SPDX-License-Identifier: MIT
/// The slow path of dpi: copies of packets in, verdicts out. No kernel: records are made by hand.
#include "../../plugins/dpi/inspector.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <evnf/address.hpp>
#include <thread>

#include "../../plugins/dpi/offload.hpp"
#include "../../plugins/dpi/opening.hpp"
#include "catch.hpp"
#include "dpi_traffic.hpp"
#include "packet.hpp"

using namespace evnf::test;
using namespace evnf::dpi;

namespace {

constexpr std::size_t kEthernet = 14;

std::shared_ptr<const Engines> engines()
{
    static const auto one = std::make_shared<Engines>("", 1);
    return one;
}

dpi_key key_of(std::uint8_t protocol, std::uint16_t client_port, std::uint16_t server_port)
{
    dpi_key key{};
    key.address[0] = evnf::Address::parse("10.1.0.2")->raw;
    key.address[1] = evnf::Address::parse("10.2.0.2")->raw;
    key.port[0] = htons(client_port);
    key.port[1] = htons(server_port);
    key.vlan[0] = key.vlan[1] = EVNF_NO_VLAN;
    key.protocol = protocol;
    return key;
}

/// A TCP connection from 10.1.0.2:1234, as the fast path reports it.
struct Connection {
    std::uint64_t id;
    std::uint16_t server_port = 80;
    bool saw_syn = true;
    std::uint32_t client_seq = 1001, server_seq = 5001;

    std::vector<std::byte> record(const Frame& frame, unsigned direction, bool is_last)
    {
        dpi_copy copy{};
        copy.key = key_of(IPPROTO_TCP, 1234, server_port);
        copy.id = id;
        copy.length = copy.l3_length = static_cast<std::uint32_t>(frame.size() - kEthernet);
        copy.flow_flags = saw_syn ? DPI_FLOW_HANDSHAKE : 0;
        copy.opening.seq = htonl(1000);
        copy.opening.tcp_flags = SYN;
        copy.l4_offset = 20;
        copy.direction = static_cast<std::uint8_t>(direction);
        copy.from_initiator = direction == 0;
        copy.is_last = is_last;
        std::vector<std::byte> bytes(sizeof copy);
        std::memcpy(bytes.data(), &copy, sizeof copy);
        bytes.insert(bytes.end(), frame.begin() + kEthernet, frame.end());
        return bytes;
    }

    std::vector<std::byte> client(const std::string& payload, bool is_last = false)
    {
        const auto frame = packet(Eth{}, Ipv4{}, Tcp{.sport = 1234, .dport = server_port, .seq = client_seq,
                                  .ack = server_seq, .flags = PSH | ACK}, Payload{payload});
        client_seq += static_cast<std::uint32_t>(payload.size());
        return record(frame, 0, is_last);
    }

    std::vector<std::byte> server(const std::string& payload, bool is_last = false)
    {
        const auto frame = packet(Eth{}, Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2"},
                                  Tcp{.sport = server_port, .dport = 1234, .seq = server_seq, .ack = client_seq,
                                  .flags = PSH | ACK}, Payload{payload});
        server_seq += static_cast<std::uint32_t>(payload.size());
        return record(frame, 1, is_last);
    }
};

/// An inspector whose verdicts are kept.
struct Lab {
    Inspector inspector{250};
    std::vector<Verdict> verdicts;
    bool alive = true; ///< what the flow table answers

    explicit Lab(std::shared_ptr<const Engines> with = engines()) { use(std::move(with)); }
    void inspect(std::span<const std::byte> record, unsigned worker = 0) { inspector.inspect(worker, record); }
    void use(std::shared_ptr<const Engines> with)
    {
        inspector.use(std::move(with), [this](const Verdict& verdict) {
            verdicts.push_back(verdict);
            return alive;
        });
    }
};

/// The record of a flow that had lost a copy by then.
std::vector<std::byte> with_gap(std::vector<std::byte> record)
{
    dpi_copy copy;
    std::memcpy(&copy, record.data(), sizeof copy);
    copy.flow_flags |= DPI_FLOW_GAP;
    std::memcpy(record.data(), &copy, sizeof copy);
    return record;
}

dpi_flow flow_with_id(std::uint64_t id)
{
    dpi_flow flow{};
    flow.verdict = dpi_verdict(id, 0, 0, DPI_NEW);
    return flow;
}

} // namespace

TEST_CASE("dpi: the word of a verdict keeps its parts apart")
{
    const auto verdict = dpi_verdict(0xff'ffff'ffffULL, 4095, DPI_CONFIDENCE_DPI, DPI_GAVE_UP);
    CHECK(dpi_verdict_id(verdict) == 0xff'ffff'ffffULL);
    CHECK(dpi_verdict_app(verdict) == 4095);
    CHECK(dpi_verdict_confidence(verdict) == DPI_CONFIDENCE_DPI);
    CHECK(dpi_verdict_state(verdict) == DPI_GAVE_UP);
}

TEST_CASE("dpi inspector: an HTTP request and its answer make one verdict")
{
    Lab lab;
    Connection connection{.id = 7};
    lab.inspect(connection.client(http_request("www.example.org")));
    CHECK(lab.verdicts.empty());
    REQUIRE(lab.inspector.find(7));
    CHECK(lab.inspector.find(7)->state == DPI_INSPECTING);
    CHECK(lab.inspector.find(7)->label.app == "HTTP");

    lab.inspect(connection.server(http_response()));
    REQUIRE(lab.verdicts.size() == 1);
    CHECK(lab.verdicts[0].id == 7);
    CHECK(lab.verdicts[0].state == DPI_CLASSIFIED);
    CHECK(lab.verdicts[0].label.app == "HTTP");
    CHECK(lab.verdicts[0].label.confidence == DPI_CONFIDENCE_DPI);
    CHECK(lab.verdicts[0].label.sni == "www.example.org");
    CHECK(lab.inspector.inspections() == 0);

    lab.inspect(connection.client(http_request("www.example.org")));
    CHECK(lab.verdicts.size() == 1);
}

TEST_CASE("dpi inspector: a ClientHello names TLS and the server")
{
    Lab lab;
    Connection connection{.id = 1, .server_port = 8443};
    lab.inspect(connection.client(client_hello("www.example.org")));
    REQUIRE(lab.inspector.find(1));
    CHECK(lab.inspector.find(1)->label.app == "TLS");
    CHECK(lab.inspector.find(1)->label.sni == "www.example.org");
}

TEST_CASE("dpi inspector: when the budget is spent it gives up")
{
    Lab lab;
    Connection connection{.id = 2, .server_port = 40000};
    lab.inspect(connection.client("\x81 neither here nor there"));
    lab.inspect(connection.server("\x82 nothing known, either"));
    CHECK(lab.verdicts.empty());
    lab.inspect(connection.client("\x83 and that was the last one", true));
    REQUIRE(lab.verdicts.size() == 1);
    CHECK(lab.verdicts[0].state == DPI_GAVE_UP);
    CHECK(lab.verdicts[0].label.app == "Unknown");
    CHECK(lab.inspector.inspections() == 0);
}

TEST_CASE("dpi inspector: what is known of a flow that is no more when its verdict comes is kept until it is pruned")
{
    Lab lab;
    lab.alive = false;
    Connection connection{.id = 3};
    lab.inspect(connection.client(http_request("www.example.org")));
    lab.inspect(connection.server(http_response()));
    CHECK(lab.verdicts.size() == 1);
    CHECK(lab.inspector.flows() == 1);
    lab.inspector.prune(10, [](const auto&, std::uint64_t) { return false; });
    CHECK(lab.inspector.flows() == 0);
}

TEST_CASE("dpi inspector: asking about a flow without copies costs no memory")
{
    Lab lab;
    const auto key = key_of(IPPROTO_TCP, 1234, 443);
    const auto known = lab.inspector.describe(key, flow_with_id(9));
    CHECK(known.state == DPI_NEW);
    CHECK(known.label.app == "TLS");
    CHECK(known.label.confidence == DPI_CONFIDENCE_PORT);
    CHECK(lab.inspector.finish(key, flow_with_id(9)).app == "TLS");
    CHECK(lab.inspector.flows() == 0);
}

TEST_CASE("dpi inspector: a flow that ends during inspection is named as far as can be told, and freed")
{
    Lab lab;
    Connection connection{.id = 4};
    lab.inspect(connection.client(http_request("www.example.org")));
    CHECK(lab.inspector.finish(key_of(IPPROTO_TCP, 1234, 80), flow_with_id(4)).app == "HTTP");
    CHECK(lab.inspector.flows() == 0);
    CHECK(lab.verdicts.empty());
}

TEST_CASE("dpi inspector: pruning frees flows that are no more, whatever their number")
{
    Lab lab;
    for (std::uint64_t id = 1; id <= 20; ++id) {
        Connection connection{.id = id};
        lab.inspect(connection.client(http_request("www.example.org")));
    }
    for (int turn = 0; turn < 20; ++turn)
        lab.inspector.prune(3, [](const dpi_key&, std::uint64_t id) { return id % 5 == 0; });
    CHECK(lab.inspector.flows() == 4);
    CHECK(lab.inspector.find(15));
    CHECK_FALSE(lab.inspector.find(16));
}

TEST_CASE("dpi inspector: flows that began before a reload finish on the protocols that they began with")
{
    Lab lab;
    Connection before{.id = 1}, after{.id = 2};
    lab.inspect(before.client(http_request("intranet.example")));
    lab.use(std::make_shared<Engines>("host:\"intranet.example\"@Intranet\n", 1));
    lab.inspect(after.client(http_request("intranet.example")));
    lab.inspect(before.server(http_response()));
    lab.inspect(after.server(http_response()));
    REQUIRE(lab.verdicts.size() == 2);
    CHECK(lab.verdicts[0].label.app == "HTTP");
    CHECK(lab.verdicts[1].label.app == "HTTP.Intranet");
}

TEST_CASE("dpi inspector: ports of a protocol that protocols_file defines are no guess")
{
    Lab lab;
    lab.use(std::make_shared<const Engines>("tcp:9001@Elephant\n", 1));
    Connection own{.id = 1, .server_port = 9001};
    lab.inspector.inspect(0, own.client("xxxx", true));
    REQUIRE(lab.verdicts.size() == 1);
    CHECK(lab.verdicts[0].label.app == "Elephant");
    CHECK(lab.verdicts[0].label.confidence == DPI_CONFIDENCE_RULE);
    CHECK(Offload{.mode = Offload::Mode::elephants, .apps = {"Elephant"}}.takes(DPI_CLASSIFIED, lab.verdicts[0].label, {}));
}

TEST_CASE("dpi inspector: a cut copy is still looked at")
{
    Lab lab;
    Connection connection{.id = 5};
    auto bytes = connection.client(http_request("www.example.org") + std::string(1000, 'x'));
    dpi_copy copy;
    std::memcpy(&copy, bytes.data(), sizeof copy);
    copy.length = 300;
    std::memcpy(bytes.data(), &copy, sizeof copy);
    lab.inspect(bytes);
    CHECK(lab.inspector.find(5)->label.app == "HTTP");
}

TEST_CASE("dpi inspector: a record that is too short for anything is ignored")
{
    Lab lab;
    Connection connection{.id = 6};
    const auto bytes = connection.client("GET");
    for (const std::size_t size : {std::size_t{0}, sizeof(dpi_copy) - 1, sizeof(dpi_copy), sizeof(dpi_copy) + 19})
        lab.inspect({bytes.data(), size});
    CHECK(lab.inspector.flows() == 0);
}

TEST_CASE("dpi: the first packet of a connection is made anew from what its entry tells")
{
    const dpi_opening opening{.seq = htonl(1000), .ack_seq = 0, .tcp_flags = SYN, .direction = 0, .pad = {}};
    const auto made = [&](const Frame& frame, std::size_t ip_header, unsigned direction) {
        auto bytes = opening_packet(opening, std::span{frame}.subspan(kEthernet), ip_header, direction);
        bytes.insert(bytes.begin(), frame.begin(), frame.begin() + kEthernet);
        return describe(bytes);
    };
    const Tcp request{.sport = 1234, .dport = 80, .flags = PSH | ACK}, reply{.sport = 80, .dport = 1234};
    const auto syn = [](const auto& ip) {
        return describe(packet(Eth{}, ip, Tcp{.sport = 1234, .dport = 80, .seq = 1000, .flags = SYN}));
    };
    CHECK(made(packet(Eth{}, Ipv4{}, request, Payload{"x"}), 20, 0) == syn(Ipv4{}));
    CHECK(made(packet(Eth{}, Ipv4{.options = "\x01"}, request, Payload{"x"}), 24, 0) == syn(Ipv4{}));
    CHECK(made(packet(Eth{}, Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2"}, reply, Payload{"x"}), 20, 1) == syn(Ipv4{}));
    CHECK(made(packet(Eth{}, Ipv6{}, HopByHop{}, request, Payload{"x"}), 48, 0) == syn(Ipv6{}));
    CHECK(made(packet(Eth{}, Ipv6{.src = "2001:db8:2::2", .dst = "2001:db8:1::2"}, reply), 40, 1) == syn(Ipv6{}));

    const auto frame = packet(Eth{}, Ipv4{}, Udp{});
    CHECK(opening_packet(opening, std::span{frame}.subspan(kEthernet), 20, 0).empty());
}

TEST_CASE("dpi inspector: a label has the fingerprints and the risks that nDPI sees")
{
    Lab lab;
    Connection connection{.id = 8, .server_port = 40000};
    lab.inspect(connection.client(client_hello("www.example.org")));
    const auto known = lab.inspector.find(8);
    REQUIRE(known);
    // MD5 of "771,49199-49200,0-10-11-13,29-23,0": version, ciphers, extensions, groups, point formats.
    CHECK(known->label.ja3_client == "1f4b8d65612ee195acc058194ef6fd00");
    CHECK(known->label.ja3_server.empty());
    const auto risks = risk_names(known->label.risk);
    CHECK(std::find(risks.begin(), risks.end(), "Known Protocol on Non Standard Port") != risks.end());
    CHECK(risk_names(0).empty());
}

TEST_CASE("dpi inspector: what is no TLS has no fingerprints, whatever nDPI keeps in their place")
{
    Lab lab;
    Connection connection{.id = 8};
    lab.inspect(connection.client(http_request("www.example.org")));
    REQUIRE(lab.inspector.find(8)->label.app == "HTTP");
    CHECK(lab.inspector.find(8)->label.ja3_client.empty());
}

TEST_CASE("dpi inspector: a flow with lost copies that is not known when its budget is spent gets another one")
{
    Lab lab;
    Connection connection{.id = 2, .server_port = 40000};
    lab.inspect(with_gap(connection.client("\x81 neither here nor there")));
    lab.inspect(connection.server("\x82 nothing known, either", true));
    REQUIRE(lab.verdicts.size() == 1);
    CHECK(lab.verdicts[0].fresh_budget);
    CHECK(lab.verdicts[0].state == DPI_INSPECTING);
    CHECK(lab.inspector.find(2)->state == DPI_INSPECTING);

    SECTION("once for each gap")
    {
        lab.inspect(connection.client("\x83 and that was the last one", true));
        REQUIRE(lab.verdicts.size() == 2);
        CHECK(lab.verdicts[1].state == DPI_GAVE_UP);
        CHECK_FALSE(lab.verdicts[1].fresh_budget);
    }
    SECTION("and for the next gap")
    {
        lab.inspect(with_gap(connection.client("\x83 and that was the last one", true)));
        REQUIRE(lab.verdicts.size() == 2);
        CHECK(lab.verdicts[1].fresh_budget);
    }
}

TEST_CASE("dpi inspector: a guess by the port is not final for a flow with lost copies, either")
{
    Lab lab;
    Connection connection{.id = 2, .server_port = 443};
    lab.inspect(with_gap(connection.client("\x81 neither here nor there", true)));
    REQUIRE(lab.verdicts.size() == 1);
    CHECK(lab.verdicts[0].fresh_budget);
}

TEST_CASE("dpi inspector: a flow with lost copies that is known needs no other budget")
{
    Lab lab;
    Connection connection{.id = 2};
    lab.inspect(with_gap(connection.client(http_request("www.example.org"), true)));
    REQUIRE(lab.verdicts.size() == 1);
    CHECK(lab.verdicts[0].state == DPI_CLASSIFIED);
    CHECK_FALSE(lab.verdicts[0].fresh_budget);
}

TEST_CASE("dpi workers: every worker has its share of the flows, and both directions of a flow have the same")
{
    for (const unsigned workers : {1u, 2u, 3u, 8u}) {
        std::vector<unsigned> share(workers);
        for (unsigned port = 1; port <= 8000; ++port) {
            const auto key = key_of(IPPROTO_TCP, static_cast<std::uint16_t>(port), 443);
            ++share.at(dpi_worker_of(&key, workers));
        }
        CAPTURE(workers);
        for (const auto count : share) CHECK((count > 7000 / workers && count < 9000 / workers));
    }
}

TEST_CASE("dpi workers: with another number of them, flows under inspection go on with the one that has them now")
{
    Lab lab;
    Connection connection{.id = 7};
    lab.inspect(connection.client(http_request("www.example.org")), 0);
    lab.inspector.expect_moves();
    lab.use(std::make_shared<Engines>("", 2));
    lab.inspect(connection.server(http_response()), 1);
    REQUIRE(lab.verdicts.size() == 1);
    CHECK(lab.verdicts[0].label.app == "HTTP");
    CHECK(lab.verdicts[0].label.sni == "www.example.org");
    CHECK(lab.inspector.flows() == 1);
}

TEST_CASE("dpi workers: what is left in the ring of a worker that is no more is inspected, and counts as out of order")
{
    Lab lab{std::make_shared<Engines>("", 2)};
    Connection connection{.id = 7, .server_port = 40000};
    lab.inspect(connection.client("\x81 neither here nor there"), 1);
    lab.inspector.expect_moves();
    lab.use(engines());
    lab.inspect(connection.server("\x82 nothing known, either"), 0);
    lab.inspect(connection.client("\x83 and that was the last one", true), 1);
    REQUIRE(lab.verdicts.size() == 1);
    CHECK(lab.verdicts[0].fresh_budget);
    CHECK(lab.inspector.inspections() == 1);
}

TEST_CASE("dpi workers: each counts its flows and packets, and the time that they took")
{
    Lab lab{std::make_shared<Engines>("", 2)};
    Connection first{.id = 1}, second{.id = 2};
    lab.inspect(first.client(http_request("www.example.org")), 0);
    lab.inspect(first.server(http_response()), 0);
    lab.inspect(second.client(http_request("www.example.org")), 1);
    const auto efforts = lab.inspector.efforts();
    REQUIRE(efforts.size() == 2);
    CHECK(efforts[0].flows == 1);
    CHECK(efforts[0].packets == 2);
    CHECK(efforts[1].packets == 1);
    CHECK(efforts[0].time.count() > 0);
}

TEST_CASE("dpi breadcrumbs: what a worker was at when it died is given up, counted once and never inspected again")
{
    Lab lab;
    const auto crumbs = std::make_shared<Breadcrumbs>();
    const auto die_at = [&](std::uint64_t id) { crumbs->of(3) = {.id = id, .since = 1, .key = key_of(IPPROTO_TCP, 1234, 80)}; };
    die_at(7);
    CHECK(lab.inspector.recover(crumbs).size() == 1);
    REQUIRE(lab.verdicts.size() == 1);
    CHECK(lab.verdicts[0].id == 7);
    CHECK(lab.verdicts[0].state == DPI_GAVE_UP);
    CHECK(lab.inspector.quarantined() == 1);
    CHECK(crumbs->of(3).id == 0);

    Connection poisonous{.id = 7}, other{.id = 8};
    for (Connection* connection : {&poisonous, &other}) {
        lab.inspect(connection->client(http_request("www.example.org")));
        lab.inspect(connection->server(http_response()));
    }
    REQUIRE(lab.verdicts.size() == 2);
    CHECK(lab.verdicts[1].id == 8);
    CHECK(lab.inspector.efforts().at(0).packets == 2);

    // It died once more before the first death was written off.
    die_at(7);
    CHECK(lab.inspector.recover(crumbs).size() == 1);
    CHECK(lab.inspector.quarantined() == 1);
}

TEST_CASE("dpi breadcrumbs: the last flows in quarantine are known, and all are counted")
{
    Breadcrumbs crumbs;
    for (std::uint64_t id = 1; id <= 100; ++id) {
        crumbs.of(0).id = id;
        crumbs.collect();
    }
    CHECK(crumbs.quarantined() == 100);
    CHECK_FALSE(crumbs.is_quarantined(37));
    for (std::uint64_t id = 38; id <= 100; ++id) CHECK(crumbs.is_quarantined(id));
}

TEST_CASE("dpi breadcrumbs: a worker that is at nothing leaves none")
{
    Lab lab;
    const auto crumbs = std::make_shared<Breadcrumbs>();
    lab.inspector.recover(crumbs);
    Connection connection{.id = 7};
    lab.inspect(connection.client(http_request("www.example.org")));
    CHECK(crumbs->collect().empty());
    CHECK(crumbs->of(0).key.protocol == IPPROTO_TCP); // it was there
}

TEST_CASE("dpi: a thread is stuck after so much CPU time in one step, however long it waits in it")
{
    using namespace std::chrono_literals;
    CpuTimeWatch watch;
    CHECK_FALSE(watch.look(0, 10s, 2s)); // nothing to do since ten seconds
    CHECK_FALSE(watch.look(1, 10s, 2s));
    CHECK_FALSE(watch.look(1, 11s, 2s));
    CHECK_FALSE(watch.look(3, 12s, 2s)); // another step
    CHECK_FALSE(watch.look(3, 13s, 2s));
    for (int looks = 0; looks < 100; ++looks) CHECK_FALSE(watch.look(3, 13s, 2s));
    CHECK(watch.look(3, 14s, 2s));
    CHECK_FALSE(watch.look(4, 20s, 2s));
}

TEST_CASE("dpi workers: flows are named once while others are asked about, end, and change their worker")
{
    constexpr std::uint64_t kFlows = 600;
    const auto ends_early = [](std::uint64_t id) { return id % 3 == 0; };
    const auto worker_of = [](std::uint64_t id, bool later) { return (id + (later && id % 7 == 0)) % 2; };
    std::vector<Connection> connections;
    for (std::uint64_t id = 0; id < kFlows; ++id) connections.push_back({.id = id});
    std::vector<std::vector<std::string>> named(kFlows);
    const auto sink = [&](const Verdict& verdict) { return named[verdict.id].push_back(verdict.label.app), true; };
    const auto one = engines(), two = std::make_shared<const Engines>("", 2);
    Inspector inspector{250};
    inspector.use(two, sink);
    inspector.expect_moves();

    for (const bool later : {false, true}) {
        std::atomic<unsigned> working{2};
        const auto work = [&](unsigned worker) {
            for (std::uint64_t id = 0; id < kFlows; ++id) {
                auto& connection = connections[id];
                if (worker_of(id, later) != worker || (later && ends_early(id))) continue;
                inspector.inspect(worker, later ? connection.server(http_response()) : connection.client(http_request("a.example")));
            }
            --working;
        };
        std::thread first{work, 0}, second{work, 1};
        for (std::uint64_t id = 0; working > 0; id = (id + 1) % kFlows) {
            inspector.describe(key_of(IPPROTO_TCP, 1234, 80), flow_with_id(id));
            inspector.find(id);
            if (ends_early(id)) inspector.finish(key_of(IPPROTO_TCP, 1234, 80), flow_with_id(id));
            if (id % 50 == 0) inspector.use(id % 100 == 0 ? one : two, sink);
            if (id % 50 == 1) inspector.prune(64, [](const dpi_key&, std::uint64_t) { return true; });
            inspector.stuck(std::chrono::seconds{1});
        }
        first.join();
        second.join();
    }
    for (std::uint64_t id = 0; id < kFlows; id += 3) inspector.finish(key_of(IPPROTO_TCP, 1234, 80), flow_with_id(id));
    for (std::uint64_t id = 0; id < kFlows; ++id) {
        CAPTURE(id);
        CHECK(named[id] == (ends_early(id) ? std::vector<std::string>{} : std::vector<std::string>{"HTTP"}));
    }
    CHECK(inspector.flows() == kFlows - kFlows / 3);
    CHECK(inspector.inspections() == 0);
}
