// SPDX-License-Identifier: MIT
/// How many packets a second get through a router: sends UDP from a client to a server, whose namespaces are those of
/// tests/lab, and prints {"sent":N,"received":N,"seconds":S} of the measured time. With --process also "cpu_seconds":S,
/// which that process had a CPU meanwhile.
///
/// One CPU does it all: the kernel runs the router and the receiver behind each batch on the CPU that
/// sent it.
#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <thread>

#include "bare_router.hpp"
#include "generator_bpf.skel.h"
#include "packet.hpp"
#include "receiver.hpp"
#include "sender.hpp"

using namespace evnf;
using namespace evnf::test;
namespace json = boost::json;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::uint16_t kFirstSourcePort = 10000;
constexpr std::size_t kHeaders = sizeof(generator_bpf::generator_bpf__bss::headers), kLongestFrame = 1514;
constexpr int kMostWindows = 20;
constexpr auto kWarmUp = std::chrono::milliseconds{300}; // slow paths finish with what is new to them

struct Options {
    std::string client, server;      ///< files of network namespaces
    std::string router;              ///< as above, where it is to be a bare one
    std::string gateway;             ///< MAC address of the router
    std::string to, server_address; ///< they differ where the router translates
    std::uint16_t port = 7;
    std::size_t frame = 60;         ///< bytes without the FCS: "64-byte packets" have 60
    unsigned flows = 256;
    bool vary_dport = false;        ///< flows differ in the destination port, from `port` on, else in the source port
    bool receive_at_tc = false;     ///< the router is the kernel's own
    int process = 0;                ///< whose CPU time is reported, 0 for none
    double seconds = 1;
    int cpu = 0;
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
    add("frame", options.frame);
    add("flows", options.flows);
    add("vary-dport", options.vary_dport);
    add("receive-at-tc", options.receive_at_tc);
    add("process", options.process);
    add("seconds", options.seconds);
    add("cpu", options.cpu);
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, all), values);
    po::notify(values);
    if (options.frame < kHeaders || options.frame > kLongestFrame)
        throw std::invalid_argument{"--frame is 42 to 1514 bytes"};
    if (!options.flows || (options.flows & (options.flows - 1)))
        throw std::invalid_argument{"--flows must be a power of 2"};
    return options;
}

/// Sends as fast as this CPU lets it.
class Generator {
public:
    explicit Generator(const Options& options)
        : frame_{packet(Eth{.dst = options.gateway}, Ipv4{.dst = options.to},
                        Udp{.dport = options.port, .checksum = 0},
                        Payload{std::string(options.frame - kHeaders, 'x')})},
          program_{open<generator_bpf>()}
    {
        std::memcpy(program_->bss->headers, frame_.data(), kHeaders);
        program_->bss->flow_mask = options.flows - 1;
        program_->bss->vary_dport = options.vary_dport;
        program_->bss->first_port = options.vary_dport ? options.port : kFirstSourcePort;
        must(generator_bpf::load(program_.get()), "cannot load the generator");
        const MapRef egress{bpf_map__fd(program_->maps.egress), "egress"};
        egress.update(std::uint32_t{0}, interface_index("eth0"));
        sender_.emplace(program_->progs.generate, frame_);
    }

    void start(int cpu) { sender_->start(cpu); }
    void stop() { sender_->stop(); }
    std::uint64_t sent() const { return program_->bss->sent; }

private:
    Frame frame_;
    Owned<generator_bpf> program_;
    std::optional<Sender> sender_;
};

using Seconds = std::chrono::duration<double>;

/// That the threads of a process have run, in user space and in system calls; 0 for no process.
Seconds cpu_time(int process)
{
    std::chrono::nanoseconds sum{0};
    if (!process) return sum;
    for (const auto& task : std::filesystem::directory_iterator{"/proc/" + std::to_string(process) + "/task"}) {
        std::int64_t ns = 0;
        std::ifstream{task.path() / "schedstat"} >> ns;
        sum += std::chrono::nanoseconds{ns};
    }
    return sum;
}

struct Window {
    std::uint64_t sent = 0, received = 0, elsewhere = 0; ///< packets; those that another CPU than the sender's received
    Seconds cpu{}, elapsed{};
};

Window measure_once(Generator& generator, const Receiver& receiver, const Options& options)
{
    const auto elsewhere = [&] { return receiver.received() - receiver.received_by_cpu().at(static_cast<std::size_t>(options.cpu)); };
    generator.start(options.cpu);
    std::this_thread::sleep_for(kWarmUp);
    const Window before{generator.sent(), receiver.received(), elsewhere(), cpu_time(options.process), {}};
    const auto start = Clock::now();
    std::this_thread::sleep_for(Seconds{options.seconds});
    const Window window{generator.sent() - before.sent, receiver.received() - before.received, elsewhere() - before.elsewhere,
                        cpu_time(options.process) - before.cpu, Clock::now() - start};
    generator.stop();
    return window;
}

/// The CPU that first finds something in an empty queue serves it until it is empty again, which beside a sender without a pause
/// it never is: a stray packet can move the work to another CPU, which then works beside the sender and is overrun. Such a
/// measurement is not of one CPU.
json::object measure(Generator& generator, const Receiver& receiver, const Options& options)
{
    for (int i = 0; i < kMostWindows; ++i) {
        const auto window = measure_once(generator, receiver, options);
        if (window.elsewhere) continue;
        json::object report{{"sent", window.sent}, {"received", window.received}, {"seconds", window.elapsed.count()}};
        if (options.process) report["cpu_seconds"] = window.cpu.count();
        return report;
    }
    throw std::runtime_error{"other CPUs took part in each of " + std::to_string(kMostWindows) + " measurements: is the machine busy?"};
}

int run(const Options& options)
{
    const auto router = bare_router(options.router);
    const Receiver receiver{options.server, options.server_address, IPPROTO_UDP, options.receive_at_tc};
    enter(options.client);
    Generator generator{options};
    std::cout << measure(generator, receiver, options) << "\n";
    return 0;
}

} // namespace

int main(int argc, char** argv)
try {
    return run(read_options(argc, argv));
} catch (const std::exception& error) {
    std::cerr << "evnf_pps: " << error.what() << "\n";
    return 1;
}
