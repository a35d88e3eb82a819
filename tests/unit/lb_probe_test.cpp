// SPDX-License-Identifier: MIT
/// What probes say of servers, on loopback.
#include "../../plugins/lb/probe.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <string>

#include "catch.hpp"

using namespace std::chrono_literals;
using evnf::Address;
using evnf::lb::Health;
using evnf::lb::ProbeResult;

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

/// Answers each connection's request with a text, or not at all where that is empty.
class Server {
public:
    Server(asio::io_context& io, std::string answer, tcp::endpoint at = {asio::ip::address_v4::loopback(), 0})
        : answer_{std::move(answer)}, acceptor_{io, at}
    {
        accept();
    }
    unsigned short port() const { return acceptor_.local_endpoint().port(); }
    const std::string& request() const { return request_; }

private:
    void accept()
    {
        acceptor_.async_accept([this](boost::system::error_code error, tcp::socket socket) {
            if (error) return;
            socket_ = std::make_unique<tcp::socket>(std::move(socket));
            asio::async_read_until(*socket_, asio::dynamic_buffer(request_), "\r\n\r\n",
                                   [this](boost::system::error_code failure, std::size_t) {
                                       if (failure || answer_.empty()) return;
                                       asio::write(*socket_, asio::buffer(answer_));
                                       socket_->close();
                                   });
        });
    }

    std::string answer_, request_;
    tcp::acceptor acceptor_;
    std::unique_ptr<tcp::socket> socket_;
};

ProbeResult probe(asio::io_context& io, unsigned short port, const Health& health, const char* address = "127.0.0.1")
{
    std::optional<ProbeResult> result;
    const auto probe = evnf::lb::start_probe(io.get_executor(), *Address::parse(address), port,
                                             std::make_shared<const Health>(health), [&](const auto& found) { result = found; });
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!result && std::chrono::steady_clock::now() < end) io.run_one_for(10ms);
    REQUIRE(result);
    return *result;
}

Health http()
{
    Health health;
    health.type = Health::Type::http;
    return health;
}

const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

} // namespace

TEST_CASE("lb probe: tcp is content with a connection, IPv4 and IPv6")
{
    asio::io_context io;
    const Server four{io, ""}, six{io, "", {asio::ip::address_v6::loopback(), 0}};
    Health health;
    health.type = Health::Type::tcp;
    for (const auto& result : {probe(io, four.port(), health), probe(io, six.port(), health, "::1")}) {
        CHECK(result.good);
        CHECK(result.text == "connected");
    }
}

TEST_CASE("lb probe: a port that nobody listens at is refused")
{
    asio::io_context io;
    const auto port = std::make_unique<Server>(io, "")->port();
    Health health;
    health.type = Health::Type::tcp;
    const auto result = probe(io, port, health);
    CHECK_FALSE(result.good);
    CHECK(result.text == "Connection refused");
}

TEST_CASE("lb probe: http asks for the path, of the backend or the host that it is told")
{
    asio::io_context io;
    const Server plain{io, kOk}, named{io, kOk};
    auto health = http();
    health.path = "/alive?deep=1";
    const auto result = probe(io, plain.port(), health);
    CHECK(result.good);
    CHECK(result.text == "status 200");
    CHECK(plain.request().starts_with("GET /alive?deep=1 HTTP/1.1\r\n"));
    CHECK(plain.request().find("Host: 127.0.0.1:" + std::to_string(plain.port()) + "\r\n") != std::string::npos);
    health.host = "shop.example";
    probe(io, named.port(), health);
    CHECK(named.request().find("Host: shop.example\r\n") != std::string::npos);
}

TEST_CASE("lb probe: http expects a status")
{
    asio::io_context io;
    const Server broken{io, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"};
    auto health = http();
    health.expect = {{200, 299}, {404, 404}};
    const auto result = probe(io, broken.port(), health);
    CHECK_FALSE(result.good);
    CHECK(result.text == "status 503, not 200-299, 404");
    const Server missing{io, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"};
    CHECK(probe(io, missing.port(), health).good);
}

TEST_CASE("lb probe: http looks for a text in the body")
{
    asio::io_context io;
    const Server has{io, kOk}, has_not{io, kOk};
    auto health = http();
    health.body = "ell";
    CHECK(probe(io, has.port(), health).good);
    health.body = "help";
    const auto result = probe(io, has_not.port(), health);
    CHECK_FALSE(result.good);
    CHECK(result.text == "status 200, but 'help' is not in the body");
}

TEST_CASE("lb probe: a server that does not answer, and one that answers garbage, are bad in time")
{
    asio::io_context io;
    const Server silent{io, ""}, garbage{io, std::string(64, '\xff') + "\r\n\r\n"};
    auto health = http();
    health.timeout = 100ms;
    const auto start = std::chrono::steady_clock::now();
    const auto result = probe(io, silent.port(), health);
    CHECK_FALSE(result.good);
    CHECK(result.text == "no answer in 100 ms");
    CHECK(std::chrono::steady_clock::now() - start < 5s);
    CHECK_FALSE(probe(io, garbage.port(), health).good);
}

TEST_CASE("lb probe: a cancelled probe says nothing")
{
    asio::io_context io;
    const Server silent{io, ""};
    bool called = false;
    const auto probe = evnf::lb::start_probe(io.get_executor(), *Address::parse("127.0.0.1"), silent.port(),
                                             std::make_shared<const Health>(http()), [&](const auto&) { called = true; });
    probe->cancel();
    io.run_for(50ms);
    CHECK_FALSE(called);
}
