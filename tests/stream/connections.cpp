// SPDX-License-Identifier: MIT
/// Long-lived TCP connections through the VNF of tests/lab, until SIGTERM. Servers send back what they get; each connection
/// sends numbered blocks, one at a time, and compares what comes back byte by byte. Prints a line "ready" when all are
/// open, and in the end, when each has finished the block that it was at and one more:
///     {"connections":N,"blocks":N,"broken":[{"port":N,"after":SECONDS,"why":"…"}]}
/// where `port` is the client's, and `after` counts from "ready". A connection that breaks is not opened again.
#include <boost/asio.hpp>
#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <chrono>
#include <csignal>
#include <iostream>
#include <random>
#include <vector>

#include "skeleton.hpp"

using namespace evnf;
using namespace evnf::test;
using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace json = boost::json;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kBlock = 1024;
constexpr auto kPatience = 15s; // that an answer may take at the end, TCP's repeats included

struct Options {
    std::string from;             ///< file of a network namespace
    std::vector<std::string> at;  ///< where the servers are: files of network namespaces
    std::string to;               ///< ADDRESS, IPv4 or IPv6
    std::uint16_t port = 9000;    ///< that connections go to
    std::vector<std::uint16_t> server_ports; ///< that each server listens on; `port` unless given
    std::size_t connections = 1000;
    unsigned pause = 250;         ///< ms between the blocks of a connection
};

Options read_options(int argc, char** argv)
{
    namespace po = boost::program_options;
    Options options;
    po::options_description all;
    const auto add = [&](const char* name, auto& value) { all.add_options()(name, po::value(&value)); };
    add("from", options.from);
    add("at", options.at);
    add("to", options.to);
    add("port", options.port);
    add("server-port", options.server_ports);
    add("connections", options.connections);
    add("pause-ms", options.pause);
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, all), values);
    po::notify(values);
    if (options.server_ports.empty()) options.server_ports = {options.port};
    return options;
}

/// Sends back what comes, until the client has said all.
asio::awaitable<void> echo(tcp::socket socket)
{
    std::vector<char> data(kBlock);
    try {
        for (;;) {
            const auto size = co_await socket.async_read_some(asio::buffer(data), asio::use_awaitable);
            co_await asio::async_write(socket, asio::buffer(data, size), asio::use_awaitable);
        }
    } catch (const boost::system::system_error&) {
        // The client's side tells what became of the connection.
    }
}

asio::awaitable<void> serve(tcp::acceptor acceptor)
{
    for (;;) {
        auto socket = co_await acceptor.async_accept(asio::use_awaitable);
        asio::co_spawn(acceptor.get_executor(), echo(std::move(socket)), asio::detached);
    }
}

class Connections {
public:
    explicit Connections(Options options) : options_{std::move(options)} {}

    json::object run()
    {
        listen();
        enter(options_.from);
        signals_.async_wait([this](auto, int) { stop(); });
        for (std::size_t i = 0; i < options_.connections; ++i)
            asio::co_spawn(loop_, transfer(static_cast<std::uint32_t>(i)), [this](std::exception_ptr, bool) {
                if (--running_ == 0) loop_.stop();
            });
        loop_.run();
        return {{"connections", options_.connections}, {"blocks", blocks_}, {"broken", broken_}};
    }

private:
    void listen()
    {
        for (const auto& server : options_.at) {
            enter(server);
            for (const auto port : options_.server_ports) {
                tcp::acceptor acceptor{loop_, {tcp::v6(), port}};
                acceptor.listen(4096);
                asio::co_spawn(loop_, serve(std::move(acceptor)), asio::detached);
            }
        }
    }

    /// Whoever then still waits for an answer has lost its connection.
    void stop()
    {
        stopping_ = true;
        deadline_.expires_after(kPatience);
        deadline_.async_wait([this](auto) {
            for (auto* socket : sockets_) socket->cancel();
        });
    }

    void opened()
    {
        if (++open_ < options_.connections) return;
        start_ = Clock::now();
        std::cout << "ready" << std::endl;
    }

    void broke(const tcp::socket& socket, std::string why)
    {
        boost::system::error_code none_yet;
        broken_.push_back(json::object{{"port", socket.local_endpoint(none_yet).port()},
                                       {"after", std::chrono::duration<double>(Clock::now() - start_).count()},
                                       {"why", std::move(why)}});
    }

    asio::awaitable<bool> transfer(std::uint32_t number)
    {
        tcp::socket socket{loop_};
        sockets_.push_back(&socket);
        try {
            co_await socket.async_connect({asio::ip::make_address(options_.to), options_.port}, asio::use_awaitable);
            opened();
            co_await exchange(socket, number);
        } catch (const std::exception& error) {
            broke(socket, error.what());
        }
        std::erase(sockets_, &socket);
        co_return true;
    }

    asio::awaitable<void> exchange(tcp::socket& socket, std::uint32_t number)
    {
        std::mt19937 bytes{number};
        asio::steady_timer pause{loop_};
        std::vector<std::uint32_t> sent(kBlock / sizeof(std::uint32_t)), received(sent.size());
        for (bool last = false; !last; ++blocks_) {
            last = stopping_;
            for (auto& word : sent) word = static_cast<std::uint32_t>(bytes());
            co_await asio::async_write(socket, asio::buffer(sent), asio::use_awaitable);
            co_await asio::async_read(socket, asio::buffer(received), asio::use_awaitable);
            if (sent != received) throw std::runtime_error{"other bytes came back"};
            // Not all at the same time.
            pause.expires_after(std::chrono::milliseconds{options_.pause / 2 + bytes() % (options_.pause + 1)});
            co_await pause.async_wait(asio::use_awaitable);
        }
    }

    Options options_;
    asio::io_context loop_{1};
    asio::signal_set signals_{loop_, SIGTERM};
    asio::steady_timer deadline_{loop_};
    std::vector<tcp::socket*> sockets_;
    std::size_t open_ = 0, running_ = options_.connections;
    std::uint64_t blocks_ = 0;
    Clock::time_point start_{};
    bool stopping_ = false;
    json::array broken_;
};

} // namespace

int main(int argc, char** argv)
try {
    std::cout << Connections{read_options(argc, argv)}.run() << "\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "evnf_connections: " << error.what() << "\n";
    return 1;
}
