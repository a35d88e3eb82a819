// SPDX-License-Identifier: MIT
/// What dpi costs where there is more to it than one flow with a verdict: copies, and a million flows.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "chain.hpp"
#include "packet.hpp"
#include "restore_bpf.skel.h"
#include "skeleton.hpp"

namespace evnf::test {

/// Counters of dpi, and of the one port of a chain.
inline std::uint64_t dpi_count(Chain& chain, const char* key)
{
    return chain.query("dpi", "status").at(key).to_number<std::uint64_t>();
}
inline std::uint64_t forwarded(Chain& chain)
{
    return chain.stats().at("ports").at(0).at("forward").to_number<std::uint64_t>();
}

inline void demand(bool holds, const std::string& name, const std::string& promise)
{
    if (!holds) throw std::runtime_error{name + ": not so: " + promise};
}

/// A packet of 1500 bytes whose flow is never taken off the slow path: each is copied to the ring, which is
/// emptied between the runs that are timed, before it is so full that its reader would be woken.
class InspectedPacket {
public:
    InspectedPacket()
    {
        chain_.run("in", frame_);
        // Where nothing is read, copies are lost: so they are made. That as many fit as are made between two
        // readings is the rest.
        chain_.cost_ns("in", frame_, kMoreThanFit);
        const auto lost = dpi_count(chain_, "lost_copies");
        demand(lost > 0 && kMoreThanFit - lost > kUnread, name(), "every packet is copied");
        chain_.run("in", frame_);
    }

    double measure(unsigned repeat)
    {
        const auto lost = dpi_count(chain_, "lost_copies"), before = forwarded(chain_);
        const unsigned runs = repeat / kUnread;
        double sum = 0;
        for (unsigned i = 0; i < runs; ++i) {
            sum += chain_.cost_ns("in", frame_, kUnread);
            chain_.run("in", frame_); // handles what there is to read
        }
        demand(forwarded(chain_) - before == std::uint64_t{runs} * (kUnread + 1), name(), "all is forwarded");
        demand(dpi_count(chain_, "lost_copies") == lost, name(), "no copy is lost");
        return sum / runs;
    }

    std::string name() const { return "dpi-inspected-1500B"; }

private:
    static constexpr unsigned kUnread = 1000, kMoreThanFit = 100'000;

    Frame frame_ = packet(Eth{}, Ipv4{}, Udp{.dport = 7}, Payload{std::string(1500 - 28, 'x')});
    Chain chain_{"ports: [{name: in, chain: [dpi]}]\n"
                 "plugins: {dpi: {offload: {mode: none}, copy_limit: 10000000/s}}\n"};
};

/// A packet of another one of 2^20 flows each time, in an order that looks random, through dpi, which has a
/// verdict on all of them, or through no plugin.
class MillionFlows {
public:
    explicit MillionFlows(bool dpi)
        : dpi_{dpi},
          chain_{dpi ? "ports: [{name: in, chain: [dpi]}]\n"
                       "plugins: {dpi: {budget: {udp: 1}, max_flows: 2000000, copy_limit: 10000000/s}}\n"
                     : "ports: [{name: in, chain: []}]\n"}
    {
        must(restore_bpf::load(program_.get()), "cannot load the restorer");
        MapRef{bpf_map__fd(program_->maps.entry), "entry"}.update(std::uint32_t{0}, chain_.entry("in"));
        const auto frame = from("128.0.0.0");
        std::memcpy(program_->bss->headers, frame.data(), frame.size());
        program_->bss->flow_bits = kFlowBits;
        program_->bss->client_bits = kFlowBits / 2;
        for (unsigned sent = 0; dpi && sent < kFlows; sent += kUnread) {
            run(kUnread);
            chain_.run("in", from("10.1.0.2")); // handles what there is to read
        }
        check();
    }

    double measure(unsigned repeat)
    {
        const auto before = forwarded(chain_);
        const double ns = run(repeat);
        demand(forwarded(chain_) - before == repeat, name(), "all is forwarded");
        check();
        return ns;
    }

    std::string name() const { return dpi_ ? "dpi-flows-1M" : "no-plugin-1M"; }

private:
    static constexpr unsigned kFlowBits = 20, kFlows = 1u << kFlowBits, kUnread = 16384;

    static Frame from(const std::string& source)
    {
        return packet(Eth{}, Ipv4{.src = source}, Udp{.sport = 0, .dport = 7, .checksum = 0},
                      Payload{std::string(18, 'x')});
    }

    double run(unsigned repeat)
    {
        const auto frame = from("128.0.0.0");
        LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(),
                    .data_size_in = static_cast<__u32>(frame.size()), .repeat = static_cast<int>(repeat));
        must(bpf_prog_test_run_opts(bpf_program__fd(program_->progs.restore), &run),
             "cannot run packets of many flows");
        return run.duration;
    }

    /// A few of so many flows may find both sets of places that are theirs full.
    void check()
    {
        if (!dpi_) return;
        demand(dpi_count(chain_, "flows") + 10 > kFlows, name(), "dpi knows the flows");
        demand(dpi_count(chain_, "inspections") == 0 && dpi_count(chain_, "lost_copies") == 0, name(),
               "it has a verdict on all that it knows");
    }

    bool dpi_;
    Chain chain_;
    Owned<restore_bpf> program_ = open<restore_bpf>();
};

} // namespace evnf::test
