// SPDX-License-Identifier: MIT
/// How many 64-byte packets a second get through a router: sends UDP from a client to a server, whose
/// namespaces are those of tests/lab, and prints {"sent":N,"received":N,"seconds":S} of the measured time.
///
/// One CPU does it all: the kernel runs the router and the receiver behind each batch on the CPU that
/// sent it.
#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <chrono>
#include <cstring>
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
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kFrame = 60; // the 64th byte is the last of the FCS
constexpr int kMostWindows = 20;
constexpr auto kWarmUp = std::chrono::milliseconds{300}; // slow paths finish with what is new to them

struct Options {
    std::string client, server;      ///< files of network namespaces
    std::string router;              ///< as above, where it is to be a bare one
    std::string gateway;             ///< MAC address of the router
    std::string to, server_address; ///< they differ where the router translates
    std::uint16_t port = 7;
    unsigned flows = 256;
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
    add("flows", options.flows);
    add("seconds", options.seconds);
    add("cpu", options.cpu);
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, all), values);
    po::notify(values);
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
                        Payload{std::string(kFrame - kHeaders, 'x')})},
          program_{open<generator_bpf>()}
    {
        std::memcpy(program_->bss->headers, frame_.data(), kHeaders);
        program_->bss->flow_mask = options.flows - 1;
        must(generator_bpf::load(program_.get()), "cannot load the generator");
        const MapRef egress{bpf_map__fd(program_->maps.egress), "egress"};
        egress.update(std::uint32_t{0}, interface_index("eth0"));
        sender_.emplace(program_->progs.generate, frame_);
    }

    void start(int cpu) { sender_->start(cpu); }
    void stop() { sender_->stop(); }
    std::uint64_t sent() const { return program_->bss->sent; }

private:
    static constexpr std::size_t kHeaders = sizeof(generator_bpf::generator_bpf__bss::headers);

    Frame frame_;
    Owned<generator_bpf> program_;
    std::optional<Sender> sender_;
};

struct Window {
    std::uint64_t sent = 0, received = 0, elsewhere = 0; ///< packets; those that another CPU than the sender's received
    std::chrono::duration<double> elapsed{};
};

Window measure_once(Generator& generator, const Receiver& receiver, const Options& options)
{
    const auto elsewhere = [&] { return receiver.received() - receiver.received_by_cpu().at(static_cast<std::size_t>(options.cpu)); };
    generator.start(options.cpu);
    std::this_thread::sleep_for(kWarmUp);
    const Window before{generator.sent(), receiver.received(), elsewhere(), {}};
    const auto start = Clock::now();
    std::this_thread::sleep_for(std::chrono::duration<double>{options.seconds});
    const Window window{generator.sent() - before.sent, receiver.received() - before.received, elsewhere() - before.elsewhere, Clock::now() - start};
    generator.stop();
    return window;
}

/// The CPU that first finds something in an empty queue serves it until it is empty again, which beside a sender without a pause
/// it never is: a stray packet can move the work to another CPU, which then works beside the sender and is overrun. Such a
/// measurement is not of one CPU.
boost::json::object measure(Generator& generator, const Receiver& receiver, const Options& options)
{
    for (int i = 0; i < kMostWindows; ++i) {
        const auto window = measure_once(generator, receiver, options);
        if (!window.elsewhere) return {{"sent", window.sent}, {"received", window.received}, {"seconds", window.elapsed.count()}};
    }
    throw std::runtime_error{"other CPUs took part in each of " + std::to_string(kMostWindows) + " measurements: is the machine busy?"};
}

int run(const Options& options)
{
    const auto router = bare_router(options.router);
    const Receiver receiver{options.server, options.server_address, IPPROTO_UDP};
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
