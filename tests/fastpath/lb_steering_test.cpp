// SPDX-License-Identifier: MIT
/// The load balancer's tables change while they are live: commands and health checks.
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <set>
#include <stdexcept>
#include <thread>

#include "lb_lab.hpp"

using namespace evnf::test;
using namespace evnf::test::lb;
using namespace std::chrono_literals;

namespace {

namespace asio = boost::asio;

/// Destinations of so many new connections.
std::set<std::string> chosen(Chain& chain, int connections = 64)
{
    static std::uint16_t port = 20'000;
    std::set<std::string> servers;
    for (int i = 0; i < connections; ++i) servers.insert(destination(chain.run("in", to_vip(++port, SYN))));
    return servers;
}

std::string error_of(Chain& chain, std::string_view verb, const std::vector<std::string>& args)
{
    try {
        chain.query("lb", verb, args);
    } catch (const std::exception& error) {
        return error.what();
    }
    return "no error";
}

/// A server that accepts connections, to be probed.
class Listener {
public:
    explicit Listener(unsigned short port = 0) : acceptor_{io_, {asio::ip::address_v4::loopback(), port}} {}
    unsigned short port() const { return acceptor_.local_endpoint().port(); }

private:
    asio::io_context io_;
    asio::ip::tcp::acceptor acceptor_;
};

std::string backend_at(const std::string& name, unsigned short port, const std::string& more = "")
{
    return "{name: " + name + ", address: 127.0.0.1, port: " + std::to_string(port) + more + "}";
}

/// A port that nobody listens at.
unsigned short closed_port()
{
    return Listener{}.port();
}

const std::string checked = ", health: {type: tcp, interval: 100ms, timeout: 100ms, rise: 2, fall: 2}";

/// Lets the slow path work until the backend's row says so.
bool becomes(Chain& chain, std::string_view name, std::string_view key, const boost::json::value& value)
{
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (backend(chain, name).at(key) != value) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(1ms);
        chain.poll();
    }
    return true;
}

} // namespace

TEST_CASE("lb steering: a drained backend keeps its connections and gets no new ones, until it is activated")
{
    Chain chain{config(s1 + "," + s2)};
    std::uint16_t port = 1000;
    while (destination(chain.run("in", to_vip(++port, SYN))) != "10.3.1.2 8080") REQUIRE(port < 1100);

    const auto row = chain.query("lb", "drain", {"web", "s1"}).as_array().at(0).as_object();
    CHECK(row.at("state") == "drain");
    CHECK(row.at("slots") == 0);
    CHECK(chosen(chain) == std::set<std::string>{"10.3.2.2 80"});
    CHECK(destination(chain.run("in", to_vip(port, ACK))) == "10.3.1.2 8080");
    CHECK(backend(chain, "s2").at("moved_slots") == 2048);

    chain.query("lb", "activate", {"web", "s1"});
    CHECK(chosen(chain) == std::set<std::string>{"10.3.1.2 8080", "10.3.2.2 80"});
    CHECK(backend(chain, "s1").at("moved_slots") == 2048);
    CHECK(backend(chain, "s1").at("slots") == 2048);
}

TEST_CASE("lb steering: affinity to the source does not outlive a drain")
{
    Chain chain{config(s1 + "," + s2, ", affinity: source")};
    const auto server = *chosen(chain).begin();
    chain.query("lb", "drain", {"web", server == "10.3.2.2 80" ? "s2" : "s1"});
    CHECK(chosen(chain).count(server) == 0);
}

TEST_CASE("lb steering: draining again and again moves slots there and back, and changes nothing else")
{
    Chain chain{config(s1 + "," + s2 + ", {name: s3, address: 10.3.3.2}")};
    for (int round = 0; round < 5; ++round) {
        chain.query("lb", "drain", {"web", "s1"});
        CHECK(chosen(chain) == std::set<std::string>{"10.3.2.2 80", "10.3.3.2 80"});
        chain.query("lb", "activate", {"web", "s1"});
        CHECK(chosen(chain).size() == 3);
    }
    // 1366 + 1365 + 1365 slots, of which only s1's move.
    const auto moved = [&](const char* name) { return backend(chain, name).at("moved_slots").to_number<int>(); };
    CHECK(moved("s1") == moved("s2") + moved("s3"));
    CHECK(moved("s1") <= 5 * 1366);
}

TEST_CASE("lb steering: a backend configured as drained can be activated")
{
    Chain chain{config(s1_drained + "," + s2)};
    chain.query("lb", "activate", {"web", "s1"});
    CHECK(chosen(chain).size() == 2);
}

TEST_CASE("lb steering: names that nobody has are refused, with those that there are")
{
    Chain chain{config(s1 + "," + s2)};
    CHECK(error_of(chain, "drain", {"wab", "s1"}).ends_with("no service is named 'wab'; there are: web, dns, web6, dns6"));
    CHECK(error_of(chain, "activate", {"web", "s9"}).ends_with("no backend of 'web' is named 's9'; there are: s1, s2"));
    CHECK(error_of(chain, "drain", {"web"}).ends_with("usage: evnfctl lb drain SERVICE BACKEND"));
}

TEST_CASE("lb steering: a drain outlives reloads, until the configured state changes")
{
    Chain chain{config(s1 + "," + s2)};
    chain.query("lb", "drain", {"web", "s1"});
    chain.reload(config(s1 + "," + s2 + ", {name: s3, address: 10.3.3.2}"));
    CHECK(backend(chain, "s1").at("state") == "drain");
    CHECK(chosen(chain) == std::set<std::string>{"10.3.2.2 80", "10.3.3.2 80"});
    chain.reload(config(s1_down + "," + s2));
    CHECK(backend(chain, "s1").at("state") == "down");
    chain.reload(config(s1 + "," + s2));
    CHECK(backend(chain, "s1").at("state") == "up");
}

TEST_CASE("lb steering: a backend whose name comes again begins without what was commanded of it")
{
    Chain chain{config(s1 + "," + s2)};
    chain.query("lb", "drain", {"web", "s1"});
    chain.reload(config(s2));
    chain.reload(config(s1 + "," + s2));
    CHECK(backend(chain, "s1").at("state") == "up");
    CHECK(backend(chain, "s1").at("moved_slots") == 2048);
}

TEST_CASE("lb health: a backend that refuses connections loses its slots and its connections, and gets slots back with the server")
{
    const auto port = closed_port();
    const Listener good;
    Chain chain{config(backend_at("s1", port) + "," + backend_at("s2", good.port()), checked)};
    const auto at_s1 = "127.0.0.1 " + std::to_string(port), at_s2 = "127.0.0.1 " + std::to_string(good.port());
    std::uint16_t client = 1000;
    while (destination(chain.run("in", to_vip(++client, SYN))) != at_s1) REQUIRE(client < 1100);

    REQUIRE(becomes(chain, "s1", "state", "down"));
    CHECK(backend(chain, "s1").at("health").as_string().find("refused") != std::string::npos);
    CHECK(backend(chain, "s1").at("health_changes") == 1);
    CHECK(backend(chain, "s1").at("slots") == 0);
    CHECK(backend(chain, "s2").at("slots") == 4096);
    CHECK(chosen(chain) == std::set{at_s2});
    CHECK(destination(chain.run("in", to_vip(client, ACK))) == at_s2);

    const Listener back{port};
    REQUIRE(becomes(chain, "s1", "state", "up"));
    CHECK(backend(chain, "s1").at("health") == "connected");
    CHECK(chosen(chain) == std::set{at_s1, at_s2});
}

TEST_CASE("lb health: what was found outlives a reload that keeps the backend, and ends with the checks")
{
    const auto port = closed_port();
    const Listener good;
    const auto backends = backend_at("s1", port) + "," + backend_at("s2", good.port());
    Chain chain{config(backends, checked)};
    REQUIRE(becomes(chain, "s1", "state", "down"));
    chain.reload(config(backends, checked + ", affinity: source"));
    CHECK(backend(chain, "s1").at("state") == "down");
    CHECK(backend(chain, "s1").at("slots") == 0);
    chain.reload(config(backends));
    CHECK(backend(chain, "s1").at("state") == "up");
    CHECK(backend(chain, "s1").at("slots") == 2048);
}

TEST_CASE("lb health: when all are down, they keep the shares and connections that they have")
{
    const auto backends = backend_at("s1", closed_port(), ", weight: 100") + "," + backend_at("s2", closed_port(), ", weight: 300");
    Chain chain{config(backends, checked)};
    const auto before = destination(chain.run("in", to_vip(1234, SYN)));
    REQUIRE(becomes(chain, "s1", "state", "down"));
    REQUIRE(becomes(chain, "s2", "state", "down"));
    CHECK(backend(chain, "s1").at("slots") == 1024);
    CHECK(backend(chain, "s2").at("slots") == 3072);
    CHECK(chosen(chain).size() == 2);
    CHECK(destination(chain.run("in", to_vip(1234, ACK))) == before);
}

TEST_CASE("lb health: when all are down and shall drop, new connections find no backend")
{
    const auto backends = backend_at("s1", closed_port()) + "," + backend_at("s2", closed_port());
    Chain chain{config(backends, checked + ", when_all_down: drop")};
    REQUIRE(becomes(chain, "s1", "state", "down"));
    REQUIRE(becomes(chain, "s2", "state", "down"));
    CHECK(chosen(chain) == std::set<std::string>{"no_backend"});
}

TEST_CASE("lb health: a backend that is not to have traffic does not count where all are down")
{
    const Listener good;
    const auto backends = backend_at("s1", closed_port()) + "," + backend_at("s2", good.port(), ", state: drain");
    Chain chain{config(backends, checked)};
    REQUIRE(becomes(chain, "s1", "state", "down"));
    CHECK(backend(chain, "s1").at("slots") == 4096);
    CHECK(backend(chain, "s2").at("slots") == 0);
}

TEST_CASE("lb seed: two balancers with different pasts choose the same server for the same flow")
{
    const std::string s3 = "{name: s3, address: 10.3.3.2}";
    Chain one{config(s1 + "," + s2 + "," + s3, "", "    seed: of the two\n")};
    Chain two{config(s3, "", "    seed: something else\n")};
    two.reload(config(s2 + "," + s3, "", "    seed: of the two\n"));
    two.query("lb", "drain", {"web", "s3"});
    two.query("lb", "activate", {"web", "s3"});
    two.reload(config(s3 + "," + s2 + "," + s1, "", "    seed: of the two\n"));
    std::set<std::string> servers;
    for (std::uint16_t port = 1000; port < 1500; ++port) {
        const auto server = destination(one.run("in", to_vip(port, SYN)));
        REQUIRE(destination(two.run("in", to_vip(port, SYN))) == server);
        servers.insert(server);
    }
    CHECK(servers.size() == 3);
}

TEST_CASE("lb local: packets to a proxy's service are this machine's, untouched; what else the vip gets goes on")
{
    Chain chain{config(s1, "", "      - {name: own, vip: 10.2.0.9, port: 80, proto: tcp, mode: local}\n")};
    const auto to = [](std::uint16_t port) {
        return packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "10.2.0.9"}, Tcp{.sport = 1234, .dport = port, .flags = SYN});
    };
    const auto local = chain.run("in", to(80));
    CHECK(local.verdict == EVNF_LOCAL);
    CHECK(local.frame == to(80));
    CHECK(chain.run("in", to(81)).verdict == EVNF_FORWARD);
    CHECK(kept(chain) == 0);
}
