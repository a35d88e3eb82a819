// SPDX-License-Identifier: MIT
/// What arrives at a server of the lab: counted and dropped before its stack sees it.
#pragma once

#include <arpa/inet.h>

#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "receiver_bpf.skel.h"
#include "skeleton.hpp"

namespace evnf::test {

class Receiver {
public:
    /// At eth0 of the network namespace `server`, which this thread enters: packets of `protocol`, where it
    /// is not 0, to `address` (IPv4) that one router has passed on.
    /// Taken where the sender's way leaves them for the least: at XDP, or at tc where they come from the kernel's own stack,
    /// since veth copies such a packet whole for a program at XDP.
    Receiver(const std::string& server, const std::string& address, std::uint8_t protocol = 0, bool at_tc = false) : program_{open<receiver_bpf>()}
    {
        in_addr binary{};
        if (inet_pton(AF_INET, address.c_str(), &binary) != 1) throw std::invalid_argument{"no IPv4 address: " + address};
        program_->rodata->server = binary.s_addr;
        program_->rodata->protocol = protocol;
        must(receiver_bpf::load(program_.get()), "cannot load the receiver");
        enter(server);
        if (at_tc)
            attach_at_tc();
        else
            program_->links.receive = attach_to_eth0(program_->progs.receive);
    }

    std::uint64_t received() const
    {
        const auto counts = received_by_cpu();
        return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
    }
    std::vector<std::uint64_t> received_by_cpu() const
    {
        const MapRef counter{bpf_map__fd(program_->maps.received), "received"};
        return counter.find_per_cpu<std::uint64_t>(std::uint32_t{0});
    }

private:
    /// For as long as the network namespace is.
    void attach_at_tc()
    {
        LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(interface_index("eth0")), .attach_point = BPF_TC_INGRESS);
        LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = bpf_program__fd(program_->progs.receive_at_tc));
        must(bpf_tc_hook_create(&hook), "cannot make a qdisc at eth0");
        must(bpf_tc_attach(&hook, &filter), "cannot attach to eth0");
    }

    Owned<receiver_bpf> program_;
};

} // namespace evnf::test
