// SPDX-License-Identifier: MIT
/// Packets of many flows at a steady rate from a client of tests/lab through the VNF to a server; then prints
/// {"sent":N,"received":N,"seconds":S}. Half of the flows are of UDP packets with payload, half are SYNs that
/// are sent again. What arrives is dropped before the server's stack sees it.
///
/// The same options send packets of the same flows.
#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <chrono>
#include <cstring>
#include <iostream>
#include <thread>

#include "dpi_flows_bpf.skel.h"
#include "packet.hpp"
#include "receiver.hpp"
#include "sender.hpp"

using namespace evnf;
using namespace evnf::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr auto kTooLate = 10s; // the CPU does not keep up with the rate

struct Options {
    std::string client, server; ///< files of network namespaces
    std::string gateway;        ///< MAC address of the VNF
    std::string to;             ///< IPv4 address of the server
    int cpu = 0;
    double rate = 1e5;         ///< packets a second
    std::uint64_t packets = 0; ///< in all
    std::uint64_t flows = 0;
    std::uint64_t in_a_row = 1; ///< packets of a flow, before the next one's
};

Options read_options(int argc, char** argv)
{
    namespace po = boost::program_options;
    Options options;
    po::options_description all;
    const auto add = [&](const char* name, auto& value) { all.add_options()(name, po::value(&value)); };
    add("client", options.client);
    add("server", options.server);
    add("gateway", options.gateway);
    add("to", options.to);
    add("cpu", options.cpu);
    add("rate", options.rate);
    add("packets", options.packets);
    add("flows", options.flows);
    add("in-a-row", options.in_a_row);
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, all), values);
    po::notify(values);
    if (options.rate < 1 || !options.packets || !options.flows || !options.in_a_row)
        throw std::invalid_argument{"--rate, --packets, --flows and --in-a-row are 1 at least"};
    return options;
}

Owned<dpi_flows_bpf> load(const Options& options)
{
    auto program = open<dpi_flows_bpf>();
    auto& settings = *program->bss;
    const Eth eth{.dst = options.gateway};
    const Ipv4 ip{.src = "128.0.0.0", .dst = options.to};
    auto syn = packet(eth, ip, Tcp{.sport = 0, .dport = 80, .flags = SYN});
    syn.resize(sizeof settings.syn_frame);
    const auto udp = packet(eth, ip, Udp{.sport = 0, .dport = 7, .checksum = 0},
                            Payload{std::string(sizeof settings.udp_frame - 42, 'x')});
    std::memcpy(settings.syn_frame, syn.data(), sizeof settings.syn_frame);
    std::memcpy(settings.udp_frame, udp.data(), sizeof settings.udp_frame);
    settings.interval = static_cast<std::uint64_t>(1e9 / options.rate);
    settings.packets = options.packets;
    program->data->flows = options.flows;
    program->data->in_a_row = options.in_a_row;
    must(dpi_flows_bpf::load(program.get()), "cannot load the program that sends");
    MapRef{bpf_map__fd(program->maps.egress), "egress"}.update(std::uint32_t{0}, interface_index("eth0"));
    return program;
}

template <class Condition>
void wait_for(Condition condition, Clock::time_point deadline)
{
    while (!condition() && Clock::now() < deadline) std::this_thread::sleep_for(1ms);
}

boost::json::object run(const Options& options)
{
    const Receiver receiver{options.server, options.to};
    enter(options.client);
    const auto program = load(options);
    const auto& sent = program->bss->sent;
    Sender sender{program->progs.send_flows, Frame(sizeof program->bss->udp_frame)};
    const auto start = Clock::now();
    sender.start(options.cpu);
    wait_for([&] { return sent == options.packets; },
             start + kTooLate +
                 std::chrono::milliseconds{
                     static_cast<std::int64_t>(1e3 * static_cast<double>(options.packets) / options.rate)});
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    wait_for([&] { return receiver.received() >= sent; }, Clock::now() + 1s);
    sender.stop();
    return {{"sent", sent}, {"received", receiver.received()}, {"seconds", elapsed.count()}};
}

} // namespace

int main(int argc, char** argv)
try {
    std::cout << run(read_options(argc, argv)) << "\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "evnf_dpi_flows: " << error.what() << "\n";
    return 1;
}
