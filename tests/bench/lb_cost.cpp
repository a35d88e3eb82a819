// SPDX-License-Identifier: MIT
/// What a packet through lb costs from end to end: entry, lb with its translation, forwarder with a real next hop; by
/// BPF_PROG_TEST_RUN of the running daemon's programs in the lab. The frame is written anew before each run: that, a tail
/// call and the kernel's loop are in the figures, which are nanoseconds. Prints a sample a line, as cost.cpp does.
///
///   frame                           no packet path at all: the loop, and the frame that is written
///   to-server-1, to-client-1        one established connection
///   to-server-1M, to-client-1M      a packet of another one of 2^20 each time, in random order, from 1024 clients
///   to-client-1M-clients            each of them of another client: no next hop is remembered for so many
///   syn                             a new connection's first packet, from a random source
///   opening                         SYN, SYN-ACK and ACK together, from random sources
#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <cstring>
#include <deque>
#include <iostream>
#include <random>

#include <evnf/bpf.hpp>

#include "packet.hpp"
#include "restore_bpf.skel.h"
#include "skeleton.hpp"

using namespace evnf;
using namespace evnf::test;

namespace {

constexpr unsigned kFlowBits = 20, kClientBits = 10;
constexpr unsigned kSourceBits = 45, kSourceClientBits = 30;

struct Options {
    std::string vnf; ///< file of its network namespace
    bool v6 = false;
    std::string vip, server;
    std::string eth0, eth1; ///< its MAC addresses
    unsigned rounds = 7;
};

Options read_options(int argc, char** argv)
{
    namespace po = boost::program_options;
    Options options;
    po::options_description all;
    const auto add = [&](const char* name, auto& value) { all.add_options()(name, po::value(&value)); };
    add("vnf", options.vnf);
    add("v6", options.v6);
    add("vip", options.vip);
    add("server", options.server);
    add("eth0", options.eth0);
    add("eth1", options.eth1);
    add("rounds", options.rounds);
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, all), values);
    po::notify(values);
    return options;
}

struct Flows {
    unsigned bits, client_bits;
};
constexpr Flows kOne{0, 0}, kMany{kFlowBits, kClientBits}, kManyClients{kFlowBits, kFlowBits};

/// Packets of one direction, which arrive at one port.
class Direction {
public:
    Direction(const Options& options, bool to_client)
        : port_{interface_index(to_client ? "eth1" : "eth0")}, to_client_{to_client}, options_{options}, program_{open<restore_bpf>()}
    {
        program_->rodata->v6 = options.v6;
        program_->rodata->to_client = to_client;
        must(restore_bpf::load(program_.get()), "cannot load the restorer");
        __u32 id = 0;
        must(bpf_xdp_query_id(static_cast<int>(port_), 0, &id), "cannot ask for the port's program");
        entry_ = Fd{bpf_prog_get_fd_by_id(id)};
        if (!entry_) throw_errno(errno, "cannot open the port's program");
        MapRef{bpf_map__fd(program_->maps.entry), "entry"}.update(std::uint32_t{0}, entry_.get());
    }

    /// Mean nanoseconds of `repeat` packets with these flags, beginning with the flow of that number.
    double run(const Flows& flows, std::uint8_t flags, unsigned repeat, std::uint64_t first = 0)
    {
        return run(flows, flags, repeat, first, XDP_REDIRECT);
    }

    /// The same without the port's entry.
    double run_nothing(unsigned repeat)
    {
        const MapRef slot{bpf_map__fd(program_->maps.entry), "entry"};
        slot.erase(std::uint32_t{0});
        const double ns = run(kOne, ACK, repeat, 0, XDP_ABORTED);
        slot.update(std::uint32_t{0}, entry_.get());
        return ns;
    }

private:
    double run(const Flows& flows, std::uint8_t flags, unsigned repeat, std::uint64_t first, __u32 wanted)
    {
        const std::string client = options_.v6 ? "2001:db8:8::" : "128.0.0.0", &from = to_client_ ? options_.server : client,
                          &to = to_client_ ? client : options_.vip;
        const Eth eth{.dst = to_client_ ? options_.eth1 : options_.eth0};
        const Tcp tcp{.sport = 80, .dport = 80, .flags = flags};
        const Frame frame = options_.v6 ? packet(eth, Ipv6{.src = from, .dst = to}, tcp, Payload{"6bytes"})
                                        : packet(eth, Ipv4{.src = from, .dst = to}, tcp, Payload{"6bytes"});
        std::memcpy(program_->bss->headers, frame.data(), frame.size());
        program_->bss->next_flow = first;
        program_->bss->flow_bits = flows.bits;
        program_->bss->client_bits = flows.client_bits;
        xdp_md context{};
        context.data_end = static_cast<__u32>(frame.size());
        context.ingress_ifindex = port_;
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = static_cast<__u32>(frame.size()),
                    .ctx_in = &context, .ctx_size_in = sizeof context, .repeat = static_cast<int>(repeat));
        must(bpf_prog_test_run_opts(bpf_program__fd(program_->progs.restore), &options), "cannot run the restorer");
        if (options.retval != wanted)
            throw std::runtime_error{"a packet was not sent on: " + std::to_string(options.retval) + " for " + describe(frame)};
        return options.duration;
    }

    std::uint32_t port_;
    bool to_client_;
    const Options& options_;
    Owned<restore_bpf> program_;
    Fd entry_;
};

class Bench {
public:
    explicit Bench(const Options& options) : options_{options}, to_server_{options, false}, to_client_{options, true} {}

    void establish(const Flows& flows)
    {
        const unsigned count = 1u << flows.bits;
        to_server_.run(flows, SYN, count);
        to_client_.run(flows, SYN | ACK, count);
        to_server_.run(flows, ACK, count);
    }

    void measure(unsigned round)
    {
        constexpr unsigned kRepeat = 1u << kFlowBits;
        print("frame", round, to_server_.run_nothing(kRepeat));
        print("to-server-1", round, to_server_.run(kOne, ACK, kRepeat));
        print("to-client-1", round, to_client_.run(kOne, ACK, kRepeat));
        print("to-server-1M", round, to_server_.run(kMany, ACK, kRepeat));
        print("to-client-1M", round, to_client_.run(kMany, ACK, kRepeat));
        print("to-client-1M-clients", round, to_client_.run(kManyClients, ACK, kRepeat));
        const Flows sources{kSourceBits, kSourceClientBits};
        print("syn", round, to_server_.run(sources, SYN, kNew, fresh(kNew)));
        const auto first = fresh(kNew);
        print("opening", round, to_server_.run(sources, SYN, kNew, first) + to_client_.run(sources, SYN | ACK, kNew, first) +
                                    to_server_.run(sources, ACK, kNew, first));
    }

private:
    static constexpr unsigned kNew = 100'000; // they stay in the table

    /// The number of the first of so many sources that were not used before.
    std::uint64_t fresh(unsigned count) { return std::exchange(next_, next_ + count); }

    void print(const char* name, unsigned round, double ns)
    {
        std::cout << boost::json::object{{"case", std::string{name} + (options_.v6 ? "-v6" : "")}, {"subject", "evnf"}, {"round", round}, {"value", ns}}
                  << std::endl;
    }

    const Options& options_;
    Direction to_server_, to_client_;
    std::uint64_t next_ = std::uint64_t{std::random_device{}()} << 8;
};

} // namespace

int main(int argc, char** argv)
try {
    const auto options = read_options(argc, argv);
    enter(options.vnf);
    Bench bench{options};
    for (const auto& flows : {kOne, kMany, kManyClients}) bench.establish(flows);
    for (unsigned round = 1; round <= options.rounds; ++round) bench.measure(round);
    return 0;
} catch (const std::exception& error) {
    std::cerr << "evnf_lb_cost: " << error.what() << "\n";
    return 1;
}
