// SPDX-License-Identifier: MIT
/// dpi: nothing is counted twice or not at all, whatever the paths do to each other.
#include <sched.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "catch.hpp"
#include "dpi_lab.hpp"
#include "packet.hpp"
#include "seed.hpp"
#include "skeleton.hpp"

#include "shuffle_bpf.skel.h"
#include "shuffle_tc_bpf.skel.h"

using namespace evnf::test;
using namespace evnf::test::dpi_lab;
using evnf::dpi::FlowEnd;

namespace {

constexpr auto kTime = std::chrono::seconds{4};
constexpr unsigned kPorts = 600, kHosts = 4;
constexpr int kRepeats = 20'000;

struct Sum {
    std::uint64_t packets = 0, bytes = 0;

    void add(const dpi_flow& flow)
    {
        packets += flow.packets[0] + flow.packets[1];
        bytes += flow.bytes[0] + flow.bytes[1];
    }
};

/// Both ways, with and without payload: 5-tuples and TCP flags come in front of the chain, few enough that flows are taken over again and again.
std::vector<Frame> templates()
{
    std::vector<Frame> frames;
    for (const std::size_t size : {0, 1, 200, 1400})
        for (const bool back : {false, true}) {
            const Ipv4 ip{.src = back ? "10.2.0.2" : "10.1.0.2", .dst = back ? "10.1.0.2" : "10.2.0.2"};
            const std::uint16_t from = back ? 80 : 1024, to = back ? 1024 : 80;
            frames.push_back(packet(Eth{}, ip, Tcp{.sport = from, .dport = to}, Payload{std::string(size, 'x')}));
            if (size > 8) frames.push_back(packet(Eth{}, ip, Udp{.sport = from, .dport = to}, Payload{std::string(size, 'x')}));
        }
    return frames;
}

/// Sends from one CPU until told to stop.
template <class Skeleton>
void keep_sending(int entry, unsigned cpu, const std::atomic<bool>& stop)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
    const auto shuffle = open<Skeleton>();
    must(Skeleton::load(shuffle.get()), "cannot load the program that shuffles packets");
    shuffle->data->ports = kPorts;
    shuffle->data->hosts = kHosts;
    evnf::MapRef{bpf_map__fd(shuffle->maps.shuffled_entry), "shuffled_entry"}.update(std::uint32_t{0}, entry);
    while (!stop)
        for (const auto& frame : templates()) {
            LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(), .data_size_in = static_cast<__u32>(frame.size()), .repeat = kRepeats);
            must(bpf_prog_test_run_opts(bpf_program__fd(shuffle->progs.shuffle), &run), "cannot send packets");
        }
}

} // namespace

TEST_CASE("dpi: the sum over what is recorded, alive, evicted and untracked is what the port counted, exactly")
{
    std::mt19937 random{seed_of_test()};
    // A table so small that flows push each other out, and a ring that nobody reads meanwhile; flows take turns at random.
    Chain chain{"ports: [{name: in, chain: [dpi]}]\nplugins: {dpi: {max_flows: 1024, copy_limit: 10000000/s}}\n"};
    DpiTable table{chain};
    Sum recorded;
    std::map<FlowEnd, unsigned> ends;
    std::uint64_t late = 0, refused = 0;
    {
        std::atomic<bool> stop = false;
        std::vector<std::jthread> senders;
        for (unsigned cpu = 0; cpu < 2; ++cpu)
            senders.emplace_back(at_tc ? keep_sending<shuffle_tc_bpf> : keep_sending<shuffle_bpf>, chain.entry("in"), cpu, std::cref(stop));
        evnf::dpi::Inspector inspector{250};
        inspector.use(std::make_shared<evnf::dpi::Engines>("", 1), [](const auto&) { return true; });
        evnf::dpi::Expiry expiry;
        const auto start = std::chrono::steady_clock::now();
        while (std::chrono::steady_clock::now() - start < kTime) {
            std::uint64_t now = 0;
            std::vector<evnf::dpi::Verdict> verdicts;
            table->for_each([&](const dpi_flow& flow, dpi_head head) {
                now = std::max<std::uint64_t>(now, (head & DPI_SEEN) << DPI_SEEN_SHIFT);
                if (random() % 4 == 0) verdicts.push_back({flow.key, dpi_verdict_id(flow.verdict), random() % 2 ? DPI_CLASSIFIED : DPI_GAVE_UP, {}});
            });
            // Sometimes all is idle, in spite of what comes in this moment.
            now += random() % 4 ? 0 : 1'000'000;
            expiry.part(*table, inspector, {.tcp = 200'000, .udp = 100'000, .closed = 100}, now,
                        [&](const dpi_flow& flow, std::uint64_t, const evnf::dpi::Knowledge&, FlowEnd why) {
                            recorded.add(flow);
                            ++ends[why];
                        });
            for (const auto& verdict : verdicts) {
                ++late;
                refused += !table->conclude(verdict);
            }
        }
        stop = true;
    }
    Sum all = recorded;
    for (auto& set : table->sets()) // those of free places, too: counted just when a flow ended
        for (const auto& flow : set.ways) all.add(flow);
    const auto faults = table->faults();
    const auto port = chain.stats().at("ports").at(0);
    const auto counted = port.at("packets").to_number<std::uint64_t>();
    CAPTURE(counted, recorded.packets, faults.evicted_packets, faults.untracked_packets, late, refused);
    CHECK(all.packets + faults.evicted_packets + faults.untracked_packets == counted);
    CHECK(all.bytes + faults.evicted_bytes + faults.untracked_bytes == port.at("bytes").to_number<std::uint64_t>());
    // It was all provoked.
    CHECK(faults.lost_copies > 0);
    CHECK(faults.evicted_flows > 0);
    CHECK(refused > 0);
    CHECK(refused < late);
    for (const auto why : {FlowEnd::idle, FlowEnd::fin, FlowEnd::rst, FlowEnd::reopened}) CHECK(ends[why] > 0);
}
