// SPDX-License-Identifier: MIT
/// A SYN flood at a steady rate from a client of tests/lab through the VNF to a server, for --seconds or until SIGTERM; then prints
/// {"sent":N,"received":N,"seconds":S}, and with --half-open "half_open":N, the entries of that map at the end. Each SYN comes
/// from another address and port; those that arrive are dropped before the server's stack sees them.
///
/// The kernel runs the VNF and the receiver behind each batch on the CPU that sent it, as a NIC with a queue for each
/// CPU would. A CPU that waits for its next packet to be due is busy, too.
#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <deque>
#include <iostream>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "bare_router.hpp"
#include "packet.hpp"
#include "receiver.hpp"
#include "sender.hpp"
#include "syns_bpf.skel.h"

using namespace evnf;
using namespace evnf::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kFrame = 60; // the 64th byte is the last of the FCS
constexpr auto kUnderWay = 300ms; // what has not arrived by then never will

struct Options {
    std::string client, server; ///< files of network namespaces
    std::string router;         ///< as above, where it is to be a bare one
    std::string gateway;        ///< MAC address of the VNF
    std::string to;             ///< an IPv4 address
    std::string server_address; ///< where it is another: the VNF translates
    std::uint16_t port = 80;
    double seconds = 0;         ///< 0: until SIGTERM
    std::vector<int> cpus;      ///< that send, all at once
    double rate = 1e6;          ///< packets a second of all CPUs together, where they can send so many
    std::string half_open;      ///< pin of a map
};

Options read_options(int argc, char** argv)
{
    namespace po = boost::program_options;
    Options options;
    po::options_description all;
    const auto add = [&](const char* name, auto& value) { all.add_options()(name, po::value(&value)); };
    add("client", options.client);
    add("server", options.server);
    add("bare-router", options.router);
    add("gateway", options.gateway);
    add("to", options.to);
    add("server-address", options.server_address);
    add("port", options.port);
    add("cpu", options.cpus);
    add("rate", options.rate);
    add("seconds", options.seconds);
    add("half-open", options.half_open);
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, all), values);
    po::notify(values);
    if (options.server_address.empty()) options.server_address = options.to;
    if (options.cpus.empty() || options.rate < 1) throw std::invalid_argument{"--cpu and a --rate of 1 at least are needed"};
    return options;
}

/// What one CPU sends.
class Flood {
public:
    /// The sources follow `first_source`.
    Flood(const Options& options, std::uint64_t first_source)
        : frame_{packet(Eth{.dst = options.gateway}, Ipv4{.src = "128.0.0.0", .dst = options.to},
                        Tcp{.sport = 0, .dport = options.port, .flags = SYN})},
          program_{open<syns_bpf>()}
    {
        auto& settings = *program_->bss;
        std::memcpy(settings.headers, frame_.data(), sizeof settings.headers);
        settings.next_source = first_source;
        settings.interval = static_cast<std::uint64_t>(1e9 * static_cast<double>(options.cpus.size()) / options.rate);
        must(syns_bpf::load(program_.get()), "cannot load the flood");
        const MapRef egress{bpf_map__fd(program_->maps.egress), "egress"};
        egress.update(std::uint32_t{0}, interface_index("eth0"));
        frame_.resize(kFrame);
        sender_.emplace(program_->progs.flood, frame_);
    }

    void start(int cpu) { sender_->start(cpu); }
    void stop() { sender_->stop(); }
    std::uint64_t sent() const { return program_->bss->sent; }

private:
    Frame frame_;
    Owned<syns_bpf> program_;
    std::optional<Sender> sender_;
};

std::size_t entries(const std::string& pin)
{
    const Fd map{bpf_obj_get(pin.c_str())};
    bpf_map_info info{};
    __u32 size = sizeof info;
    if (!map || bpf_obj_get_info_by_fd(map.get(), &info, &size)) throw_errno(errno, "cannot open " + pin);
    std::size_t count = 0;
    MapRef{map.get(), pin}.for_each_bytes(info.key_size, info.value_size, [&](const void*, const void*) { ++count; });
    return count;
}

/// Until one of these signals, or for so many seconds where they are not 0; that a sender ends before is an error.
void wait_for(const sigset_t& signals, double seconds)
{
    const timespec time{static_cast<time_t>(seconds), static_cast<long>(std::fmod(seconds, 1) * 1e9)};
    const int signal = seconds > 0 ? sigtimedwait(&signals, nullptr, &time) : sigwaitinfo(&signals, nullptr);
    if (signal == SIGCHLD) throw std::runtime_error{"the kernel does not send"};
}

boost::json::object run(const Options& options)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, nullptr);

    const auto router = bare_router(options.router);
    const Receiver receiver{options.server, options.server_address, IPPROTO_TCP};
    enter(options.client);
    // No flood meets what is left of another: they begin anywhere among 2^46 sources, and CPUs far from each other.
    std::uint64_t first_source = std::uint64_t{std::random_device{}()} << 14;
    std::deque<Flood> floods;
    for (std::size_t i = 0; i < options.cpus.size(); ++i) floods.emplace_back(options, first_source += 1ULL << 40);
    const auto start = Clock::now();
    for (std::size_t i = 0; i < floods.size(); ++i) floods[i].start(options.cpus[i]);
    wait_for(signals, options.seconds);
    for (auto& flood : floods) flood.stop();
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    std::this_thread::sleep_for(kUnderWay);

    std::uint64_t sent = 0;
    for (const auto& flood : floods) sent += flood.sent();
    boost::json::object report{{"sent", sent}, {"received", receiver.received()}, {"seconds", elapsed.count()}};
    if (!options.half_open.empty()) report["half_open"] = entries(options.half_open);
    return report;
}

} // namespace

int main(int argc, char** argv)
try {
    std::cout << run(read_options(argc, argv)) << "\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "evnf_flood: " << error.what() << "\n";
    return 1;
}
