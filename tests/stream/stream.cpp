// SPDX-License-Identifier: MIT
/// A steady stream of numbered UDP packets through the VNF of tests/lab, until SIGTERM; then prints what became of them:
///     {"sent":N,"received":N,"duplicates":N,"lost":N,"gaps":[{"to":"ADDRESS:PORT","at":SECONDS,"packets":N}]}
/// `gaps` are the first runs of lost packets; `at` counts from the start.
///
/// It never sends more in a millisecond than the rate says, so that no queue on the way can overflow: what is lost was
/// lost by who was to pass it on.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <chrono>
#include <csignal>
#include <iostream>
#include <set>
#include <thread>
#include <vector>

#include "skeleton.hpp"

using namespace evnf;
using namespace evnf::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace json = boost::json;

namespace {

constexpr auto kTick = 1ms;
constexpr auto kUnderWay = 500ms;          // what has not arrived by then never will
constexpr std::size_t kFlows = 16;         // at a time
constexpr unsigned kPacketsOfFlow = 500;   // then a new one takes its place
constexpr int kReceiveQueue = 16 << 20;
constexpr std::size_t kMaxGaps = 10;

volatile std::sig_atomic_t ended = 0;

struct Options {
    std::string from;                 ///< file of a network namespace
    std::vector<std::string> at;      ///< where the packets arrive: files of network namespaces
    std::vector<std::string> to;      ///< ADDRESS:PORT, IPv4
    unsigned per_tick = 2;
};

Options read_options(int argc, char** argv)
{
    namespace po = boost::program_options;
    Options options;
    po::options_description all;
    all.add_options()("from", po::value(&options.from))("at", po::value(&options.at))("to", po::value(&options.to))(
        "per-ms", po::value(&options.per_tick));
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, all), values);
    po::notify(values);
    if (options.to.empty() || options.at.empty()) throw std::invalid_argument{"--to and --at are needed"};
    return options;
}

sockaddr_in parse(const std::string& text)
{
    const auto colon = text.find(':');
    sockaddr_in address{};
    address.sin_family = AF_INET;
    if (colon == std::string::npos || inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr) != 1)
        throw std::invalid_argument{"not ADDRESS:PORT: " + text};
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1))));
    return address;
}

Fd udp_socket()
{
    Fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    if (!socket) throw_errno(errno, "cannot open a socket");
    return socket;
}

/// Notes the numbers that arrive at one port in one network namespace.
class Receiver {
public:
    Receiver(const std::string& space, in_port_t port)
    {
        enter(space);
        socket_ = udp_socket();
        const timeval wait{.tv_sec = 0, .tv_usec = 100'000};
        const sockaddr_in any{.sin_family = AF_INET, .sin_port = port, .sin_addr = {}, .sin_zero = {}};
        if (setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveQueue, sizeof kReceiveQueue) ||
            setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) ||
            bind(socket_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any))
            throw_errno(errno, "cannot listen");
        thread_ = std::thread{[this] { receive(); }};
    }
    ~Receiver() { stop(); }
    Receiver(const Receiver&) = delete;
    Receiver& operator=(const Receiver&) = delete;

    const std::vector<std::uint64_t>& stop()
    {
        stopping_ = true;
        if (thread_.joinable()) thread_.join();
        return numbers_;
    }

private:
    void receive()
    {
        std::uint64_t number = 0;
        while (!stopping_)
            if (recv(socket_.get(), &number, sizeof number, 0) == sizeof number) numbers_.push_back(number);
    }

    Fd socket_;
    std::atomic<bool> stopping_ = false;
    std::vector<std::uint64_t> numbers_;
    std::thread thread_;
};

/// Sends the packet with that number to each destination in turn: which one, the number says.
class Sender {
public:
    explicit Sender(const std::vector<std::string>& to)
    {
        for (const auto& text : to) destinations_.push_back(parse(text));
        for (auto& flow : flows_) flow.socket = udp_socket();
    }

    void send()
    {
        const auto& destination = destinations_[sent.size() % destinations_.size()];
        Flow& flow = flows_[sent.size() / destinations_.size() % kFlows];
        if (++flow.packets > kPacketsOfFlow) flow = {udp_socket(), 1};
        const std::uint64_t number = sent.size();
        if (sendto(flow.socket.get(), &number, sizeof number, 0, reinterpret_cast<const sockaddr*>(&destination),
                   sizeof destination) != sizeof number)
            throw_errno(errno, "cannot send");
        sent.push_back(Clock::now());
    }

    std::vector<Clock::time_point> sent; ///< by number

private:
    struct Flow {
        Fd socket;
        unsigned packets = 0;
    };

    std::vector<sockaddr_in> destinations_;
    std::array<Flow, kFlows> flows_;
};

/// What arrived of a stream, by number.
struct Arrivals {
    std::vector<bool> seen;
    std::uint64_t received = 0, duplicates = 0;

    void take(const std::vector<std::uint64_t>& numbers)
    {
        for (const auto number : numbers) {
            ++received;
            if (number >= seen.size() || seen[number])
                ++duplicates;
            else
                seen[number] = true;
        }
    }
};

json::object report(const Options& options, const std::vector<Clock::time_point>& sent, const Arrivals& arrivals, Clock::time_point start)
{
    const std::size_t destinations = options.to.size();
    std::uint64_t lost = 0;
    json::array gaps;
    for (std::size_t first = 0; first < destinations; ++first) {
        bool in_gap = false;
        for (std::size_t number = first; number < sent.size(); number += destinations) {
            const bool was_in_gap = std::exchange(in_gap, !arrivals.seen[number]);
            if (!in_gap) continue;
            ++lost;
            if (gaps.size() == kMaxGaps) continue;
            const std::chrono::duration<double> at = sent[number] - start;
            if (!was_in_gap)
                gaps.push_back({{"to", options.to[first]}, {"at", at.count()}, {"packets", std::int64_t{1}}});
            else
                gaps.back().as_object()["packets"].as_int64()++;
        }
    }
    return {{"sent", sent.size()}, {"received", arrivals.received}, {"duplicates", arrivals.duplicates}, {"lost", lost}, {"gaps", gaps}};
}

json::object run(const Options& options)
{
    std::set<in_port_t> ports;
    for (const auto& to : options.to) ports.insert(parse(to).sin_port);
    std::vector<std::unique_ptr<Receiver>> receivers;
    for (const auto& space : options.at)
        for (const auto port : ports) receivers.push_back(std::make_unique<Receiver>(space, port));
    enter(options.from);
    Sender sender{options.to};
    const auto start = Clock::now();
    for (; !ended; std::this_thread::sleep_for(kTick))
        for (unsigned i = 0; i < options.per_tick; ++i) sender.send();
    std::this_thread::sleep_for(kUnderWay);
    Arrivals arrivals{std::vector<bool>(sender.sent.size())};
    for (const auto& receiver : receivers) arrivals.take(receiver->stop());
    return report(options, sender.sent, arrivals, start);
}

} // namespace

int main(int argc, char** argv)
try {
    std::signal(SIGTERM, [](int) { ended = 1; });
    std::cout << run(read_options(argc, argv)) << "\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "evnf_stream: " << error.what() << "\n";
    return 1;
}
