// SPDX-License-Identifier: MIT
/// What a monitoring system is told, and the server that tells it.
#include "evnfd/metrics.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <thread>

#include "catch.hpp"
#include "evnfd/metrics_server.hpp"

using Catch::Matchers::ContainsSubstring;
using namespace evnf;
namespace asio = boost::asio;
namespace json = boost::json;
using asio::ip::tcp;

namespace {

/// A server on a free port, its loop on a thread.
class Server {
public:
    explicit Server(std::function<std::string()> text = [] { return std::string{"up 1\n"}; })
    {
        tcp::acceptor probe{io_, tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
        port_ = probe.local_endpoint().port();
        probe.close();
        server_.emplace(io_, *Endpoint::parse("127.0.0.1:" + std::to_string(port_)), std::move(text));
        loop_ = std::thread{[this] { io_.run(); }};
    }
    ~Server()
    {
        io_.stop();
        loop_.join();
    }

    tcp::socket connect()
    {
        tcp::socket socket{client_};
        socket.connect({asio::ip::address_v4::loopback(), port_});
        return socket;
    }
    std::string ask(const std::string& request)
    {
        auto socket = connect();
        boost::system::error_code ignored;
        asio::write(socket, asio::buffer(request), ignored);
        return rest(socket);
    }
    /// All that comes until the other side hangs up.
    static std::string rest(tcp::socket& socket)
    {
        std::string all;
        boost::system::error_code end;
        asio::read(socket, asio::dynamic_buffer(all), end);
        return all;
    }

private:
    asio::io_context io_, client_;
    std::optional<MetricsServer> server_;
    unsigned short port_ = 0;
    std::thread loop_;
};

const std::string kGet = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

} // namespace

TEST_CASE("metrics: families of one name become one, and samples with the same labels their sum")
{
    const auto text = metrics_text({{"a_total", "Help.", MetricType::counter, {{{{"x", "1"}}, 2}}},
                                    {"b", "Other.", MetricType::gauge, {{{}, 0.5}}},
                                    {"a_total", "Help.", MetricType::counter, {{{{"x", "1"}}, 3}, {{{"x", "2"}}, 1}}}});
    CHECK(text == "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\"} 5\na_total{x=\"2\"} 1\n"
                  "# HELP b Other.\n# TYPE b gauge\nb 0.5\n");
}

TEST_CASE("metrics: counters of packets lose no digit, and any text may be a label")
{
    CHECK_THAT(metrics_text({{"a_total", "Help.", MetricType::counter, {{{{"x", "a\"b\\c\nd"}}, 9007199254740991.}}}}),
               ContainsSubstring("a_total{x=\"a\\\"b\\\\c\\nd\"} 9007199254740991\n"));
}

TEST_CASE("metrics: the framework tells what status and stats tell")
{
    const auto status = json::parse(R"({"version":"1","generation":3,"loop":{"stalls":2},"reloads":{"applied":4,"refused":1},
        "ports":[{"name":"eth0","up":true}],"plugins":[{"name":"fw","state":"degraded","failures":5}]})").as_object();
    const auto stats = json::parse(R"({"ports":[{"name":"eth0","packets":10,"bytes":1000,"forward":7,"drop":2,"kernel":1,"local":0,"reply":0}],
        "stages":[{"name":"fw","packets":10}],"drops":[{"stage":"fw","reason":"rule","packets":2}],"kernel":[],
        "missed_tail_calls":0,"lost_events":6,"redirect_errors":null})").as_object();
    const auto text = metrics_text(framework_metrics(status, stats));
    for (const auto* line : {"evnf_build_info{version=\"1\"} 1\n", "evnf_generation 3\n", "evnf_reloads_total{result=\"refused\"} 1\n",
                             "evnf_port_up{port=\"eth0\"} 1\n", "evnf_plugin_ok{plugin=\"fw\"} 0\n", "evnf_plugin_failures{plugin=\"fw\"} 5\n",
                             "evnf_loop_stalls_total 2\n", "evnf_port_packets_total{port=\"eth0\"} 10\n",
                             "evnf_port_bytes_total{port=\"eth0\"} 1000\n", "evnf_port_verdicts_total{port=\"eth0\",verdict=\"forward\"} 7\n",
                             "evnf_stage_packets_total{stage=\"fw\"} 10\n", "evnf_drops_total{stage=\"fw\",reason=\"rule\"} 2\n",
                             "evnf_missed_tail_calls_total 0\n", "evnf_lost_events_total 6\n"})
        CHECK_THAT(text, ContainsSubstring(line));
    CHECK_THAT(text, !ContainsSubstring("evnf_redirect_errors_total")); // the kernel cannot tell
}

TEST_CASE("metrics: the process is this one")
{
    const auto text = metrics_text(process_metrics());
    const auto value = [&](const std::string& name) { return std::stod(text.substr(text.find("\n" + name + " ") + name.size() + 2)); };
    const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    CHECK(value("process_start_time_seconds") <= now + 1);
    CHECK(value("process_start_time_seconds") > now - 3600);
    CHECK(value("process_open_fds") >= 3);
    CHECK(value("process_resident_memory_bytes") > 1e6);
    CHECK(value("process_resident_memory_bytes") < value("process_virtual_memory_bytes"));
    CHECK(value("process_threads") >= 1);
}

TEST_CASE("metrics server: /metrics is there, and nothing else")
{
    Server server;
    CHECK_THAT(server.ask(kGet), ContainsSubstring("HTTP/1.1 200 OK\r\n"));
    CHECK_THAT(server.ask(kGet), ContainsSubstring("text/plain; version=0.0.4"));
    CHECK_THAT(server.ask(kGet), ContainsSubstring("\r\n\r\nup 1\n"));
    CHECK_THAT(server.ask("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), ContainsSubstring("200 OK"));
    CHECK_THAT(server.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ContainsSubstring("404 Not Found"));
    CHECK_THAT(server.ask("GET /metrics2 HTTP/1.1\r\nHost: x\r\n\r\n"), ContainsSubstring("404 Not Found"));
    CHECK_THAT(server.ask("POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), ContainsSubstring("405 Method Not Allowed"));
    const auto head = server.ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK_THAT(head, ContainsSubstring("Content-Length: 5\r\n"));
    CHECK(head.ends_with("\r\n\r\n"));
}

TEST_CASE("metrics server: what is no request, or too long, is refused, and the server goes on")
{
    Server server;
    CHECK_THAT(server.ask("\x16\x03\x01 hello\r\n\r\n"), ContainsSubstring("400 Bad Request"));
    CHECK_THAT(server.ask("GET /metrics HTTP/1.1\r\nX: " + std::string(20'000, 'x')), !ContainsSubstring("200 OK"));
    CHECK_THAT(server.ask("GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"), !ContainsSubstring("200 OK"));
    CHECK_THAT(server.ask(kGet), ContainsSubstring("200 OK"));
}

TEST_CASE("metrics server: what cannot be told is a status 500")
{
    Server server{[]() -> std::string { throw std::runtime_error{"no numbers today"}; }};
    CHECK_THAT(server.ask(kGet), ContainsSubstring("500 Internal Server Error"));
    CHECK_THAT(server.ask(kGet), ContainsSubstring("no numbers today"));
}

TEST_CASE("metrics server: who says nothing is hung up on in 5 s, and more than 16 of them at once")
{
    Server server;
    std::vector<tcp::socket> silent;
    for (int i = 0; i < 16; ++i) silent.push_back(server.connect());
    const auto begin = std::chrono::steady_clock::now();
    CHECK(server.ask(kGet).empty()); // there are too many
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds{3});
    CHECK(Server::rest(silent.front()).empty());
    for (auto& socket : silent) Server::rest(socket);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds{10});
    CHECK_THAT(server.ask(kGet), ContainsSubstring("200 OK"));
}

TEST_CASE("metrics server: an address that is taken is named")
{
    asio::io_context io;
    const tcp::acceptor other{io, tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
    const auto taken = "127.0.0.1:" + std::to_string(other.local_endpoint().port());
    CHECK_THROWS_WITH(MetricsServer(io, *Endpoint::parse(taken), [] { return std::string{}; }), ContainsSubstring("cannot listen on " + taken));
}
