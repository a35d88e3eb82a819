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
    Receiver(const std::string& server, const std::string& address, std::uint8_t protocol = 0) : program_{open<receiver_bpf>()}
    {
        in_addr binary{};
        if (inet_pton(AF_INET, address.c_str(), &binary) != 1) throw std::invalid_argument{"no IPv4 address: " + address};
        program_->rodata->server = binary.s_addr;
        program_->rodata->protocol = protocol;
        must(receiver_bpf::load(program_.get()), "cannot load the receiver");
        enter(server);
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
    Owned<receiver_bpf> program_;
};

} // namespace evnf::test
