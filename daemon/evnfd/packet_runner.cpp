// SPDX-License-Identifier: MIT
#include "packet_runner.hpp"

#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <algorithm>

#include "report.hpp"

namespace evnf {

namespace {

constexpr std::size_t kShortestFrame = 14;
constexpr std::size_t kLongestFrame = 3500;

boost::json::object explain(const Dataplane& dataplane, const evnf_packet& packet)
{
    boost::json::object plugins;
    for (const auto& [name, instance] : dataplane.instances()) {
        const auto stage = dataplane.stages().at(name);
        if (packet.visited & 1u << stage) plugins[name] = instance->explain(packet, packet.note[stage]);
    }
    return plugins;
}

bool is_at_tc(const Dataplane& dataplane, const std::string& port)
{
    const auto& ports = dataplane.settings().ports;
    return std::any_of(ports.begin(), ports.end(), [&](const auto& candidate) { return candidate.name == port && candidate.hook == Hook::tc; });
}

bool is_cut_in_ip_header(std::span<const std::byte> frame)
{
    const auto type = std::to_integer<unsigned>(frame[12]) << 8 | std::to_integer<unsigned>(frame[13]);
    return (type == ETH_P_IP && frame.size() < ETH_HLEN + sizeof(iphdr)) || (type == ETH_P_IPV6 && frame.size() < ETH_HLEN + sizeof(ipv6hdr));
}

} // namespace

int entry_of(const Dataplane& dataplane, const std::string& port)
{
    const Entries& entries = dataplane.generation().entries().at(port);
    return is_at_tc(dataplane, port) ? entries.tc : entries.xdp;
}

std::string cannot_run(const Dataplane& dataplane, const std::string& port, std::span<const std::byte> frame)
{
    if (frame.size() < kShortestFrame) return "shorter than an Ethernet header";
    if (frame.size() > kLongestFrame) return fmt::format("longer than {} bytes (captured with offloads on?)", kLongestFrame);
    if (is_at_tc(dataplane, port) && is_cut_in_ip_header(frame)) return "cut within its IP header, which the kernel does not run at tc";
    return {};
}

Outcome run_packet(Dataplane& dataplane, const std::string& port, std::span<const std::byte> frame)
{
    Outcome outcome;
    outcome.frame.resize(kLongestFrame + 512);
    {
        const PinnedToCpu pinned;
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = outcome.frame.data(),
                    .data_size_in = static_cast<__u32>(frame.size()),
                    .data_size_out = static_cast<__u32>(outcome.frame.size()));
        if (const int error = bpf_prog_test_run_opts(entry_of(dataplane, port), &options))
            throw_errno(-error, fmt::format("cannot run a packet through port {}", port));
        outcome.frame.resize(options.data_size_out);
        const auto packets = dataplane.generation().framework_map("evnf_packets").find_per_cpu<evnf_packet>(__u32{0});
        outcome.packet = packets.at(static_cast<std::size_t>(pinned.cpu()));
    }
    outcome.verdict = static_cast<evnf_verdict>(outcome.packet.verdict);
    outcome.reason = reason_name(outcome.packet.reason);
    outcome.stage = dataplane.stage_name(outcome.packet.decided_by);
    for (const auto& [name, instance] : dataplane.instances()) instance->drain();
    outcome.plugins = explain(dataplane, outcome.packet);
    return outcome;
}

double packet_cost_ns(const Dataplane& dataplane, const std::string& port, std::span<const std::byte> frame, unsigned repeat)
{
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = static_cast<__u32>(frame.size()),
                .repeat = static_cast<int>(repeat));
    if (const int error = bpf_prog_test_run_opts(entry_of(dataplane, port), &options))
        throw_errno(-error, fmt::format("cannot run a packet through port {}", port));
    return options.duration;
}

} // namespace evnf
