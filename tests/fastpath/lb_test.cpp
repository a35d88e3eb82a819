// SPDX-License-Identifier: MIT
/// The load balancer's choice of servers, and what it shows.
#include <map>
#include <set>

#include "lb_lab.hpp"

using namespace evnf::test;
using namespace evnf::test::lb;
using evnf::Address;

namespace {

/// Owner of each slot of the first service.
std::vector<std::uint16_t> slots(Chain& chain, std::uint32_t count = 4096)
{
    std::vector<std::uint16_t> owners;
    for (std::uint32_t page = 0; page < count / LB_PAGE; ++page) {
        const auto content = chain.map("lb", "lb_slots").find<lb_page>(page);
        REQUIRE(content);
        owners.insert(owners.end(), std::begin(content->backend), std::end(content->backend));
    }
    return owners;
}

} // namespace

TEST_CASE("lb: without a backend that takes traffic, new connections are dropped by name")
{
    const std::string weightless = "{name: z, address: 10.3.3.2, weight: 0}";
    for (const auto& backends : {s1_drained, s1_down, s1_drained + "," + weightless}) {
        Chain chain{config(backends)};
        CHECK(dropped(chain.run("in", to_vip(1234, SYN))) == "no_backend");
        CHECK(kept(chain) == 0);
    }
}

TEST_CASE("lb: each backend gets its share of 20000 random flows, within 2 points")
{
    const auto seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random{seed};
    Chain chain{
        config("{name: a, address: 10.3.0.1, weight: 50}, {name: b, address: 10.3.0.2, weight: 30},"
               "{name: c, address: 10.3.0.3, weight: 20}, {name: d, address: 10.3.0.4, weight: 0}")};
    std::map<std::string, double> share;
    for (int flow = 0; flow < 20'000; ++flow)
        share[destination(
            chain.run("in", packet(Eth{}, Ipv4{.src = random_address(random, false), .dst = "10.2.0.2"},
                                   Tcp{.sport = static_cast<std::uint16_t>(1 + random() % 65535),
                                       .dport = 80,
                                       .flags = SYN})))] += 100.0 / 20'000;
    CHECK(std::abs(share["10.3.0.1 80"] - 50) < 2);
    CHECK(std::abs(share["10.3.0.2 80"] - 30) < 2);
    CHECK(std::abs(share["10.3.0.3 80"] - 20) < 2);
    CHECK(share.size() == 3);
}

TEST_CASE("lb: neighbouring ports and addresses of clients spread too")
{
    Chain chain{config(s1 + "," + s2)};
    std::map<std::string, int> ports, clients;
    for (std::uint16_t i = 0; i < 1000; ++i) {
        ++ports[destination(chain.run("in", to_vip(static_cast<std::uint16_t>(10'000 + i), SYN)))];
        ++clients[destination(chain.run(
            "in", packet(Eth{},
                         Ipv4{.src = "10.4." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1),
                              .dst = "10.2.0.2"},
                         Tcp{.sport = 5000, .dport = 80, .flags = SYN})))];
    }
    CHECK(std::abs(ports["10.3.1.2 8080"] - 500) < 100);
    CHECK(std::abs(clients["10.3.1.2 8080"] - 500) < 100);
}

TEST_CASE("lb: with affinity to the source, a client keeps its server whatever its port")
{
    Chain chain{config(s1 + "," + s2, ", affinity: source")};
    std::set<std::string> servers;
    for (int client = 1; client < 64; ++client) {
        std::set<std::string> of_client;
        for (std::uint16_t port = 1000; port < 1016; ++port)
            of_client.insert(destination(chain.run(
                "in", packet(Eth{}, Ipv4{.src = "10.1.0." + std::to_string(client), .dst = "10.2.0.2"},
                             Tcp{.sport = port, .dport = 80, .flags = SYN}))));
        CHECK(of_client.size() == 1);
        servers.merge(of_client);
    }
    CHECK(servers == std::set<std::string>{"10.3.1.2 8080", "10.3.2.2 80"});
}

TEST_CASE("lb: a reload moves no more slots than the change of weights asks for")
{
    Chain chain{
        config("{name: a, address: 10.3.0.1}, {name: b, address: 10.3.0.2}, {name: c, address: 10.3.0.3}")};
    const auto three = slots(chain);
    chain.reload(
        config("{name: c, address: 10.3.0.3}, {name: a, address: 10.3.0.1}, {name: b, address: 10.3.0.2}"));
    CHECK(slots(chain) == three);
    chain.reload(config("{name: a, address: 10.3.0.1}, {name: c, address: 10.3.0.3}"));
    const auto two = slots(chain);
    std::size_t moved = 0;
    for (std::size_t slot = 0; slot < three.size(); ++slot) moved += three[slot] != two[slot];
    CHECK(moved == 1365);
}

TEST_CASE("lb: backends count packets and bytes of both directions, over reloads, by name")
{
    Chain chain{config(s1)};
    const auto there = to_vip(1234, SYN, "hello"), back = from_s1(1234, SYN | ACK);
    chain.run("in", there);
    chain.run("out", back);
    chain.reload(config(s2 + "," + s1));
    auto row = backend(chain, "s1");
    CHECK(row.at("packets").to_number<std::uint64_t>() == 2);
    CHECK(row.at("bytes").to_number<std::uint64_t>() == there.size() + back.size());
    CHECK(row.at("connections").to_number<std::uint64_t>() == 1);
    CHECK(backend(chain, "s2").at("packets").to_number<std::uint64_t>() == 0);
}

TEST_CASE("lb: the list of backends shows what contract and configuration say")
{
    Chain chain{
        config(s1 +
               ", {name: s2, address: 10.3.2.2, weight: 300},"
               "{name: s3, address: 10.3.3.2, state: drain}, {name: s4, address: 10.3.4.2, state: down}")};
    const auto s2_row = backend(chain, "s2");
    CHECK(s2_row == boost::json::object{{"service", "web"},
                                        {"name", "s2"},
                                        {"address", "10.3.2.2"},
                                        {"port", 80},
                                        {"weight", 300},
                                        {"effective_weight", 300},
                                        {"slots", 3072},
                                        {"state", "up"},
                                        {"moved_slots", 0},
                                        {"connections", 0},
                                        {"packets", 0},
                                        {"bytes", 0}, {"load", nullptr}});
    CHECK(backend(chain, "s1").at("slots") == 1024);
    CHECK(backend(chain, "s3").at("state") == "drain");
    CHECK(backend(chain, "s3").at("effective_weight") == 0);
    CHECK(backend(chain, "s3").at("slots") == 0);
    CHECK(backend(chain, "s4").at("state") == "down");
}

TEST_CASE("lb: the list of connections names client, service and backend")
{
    Chain chain{config(s1)};
    chain.run("in", to_vip(1234, SYN));
    chain.run("in", packet(Eth{}, Ipv6{.src = "2001:db8:1::7", .dst = "2001:db8:2::2"},
                           Udp{.sport = 99, .dport = 53}));
    const auto rows = chain.query("lb", "connections");
    std::set<std::string> texts;
    for (const auto& row : rows.as_array()) texts.insert(boost::json::serialize(row));
    CHECK(
        texts ==
        std::set<std::string>{
            R"({"service":"web","backend":"s1","proto":"tcp","client":"10.1.0.2","client_port":1234,"state":"syn","age_s":0,"idle_s":0})",
            R"({"service":"dns6","backend":"d6","proto":"udp","client":"2001:db8:1::7","client_port":99,"state":"udp","age_s":0,"idle_s":0})"});
}
