// SPDX-License-Identifier: MIT
#include "promiscuous.hpp"

#include <fmt/format.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

namespace evnf {

namespace {

Fd make_promiscuous(unsigned ifindex)
{
    const auto check = [ifindex](bool failed) {
        if (failed) throw_errno(errno, fmt::format("cannot put the interface with index {} into promiscuous mode", ifindex));
    };
    Fd socket{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)}; // of no protocol: it gets no frames
    check(!socket);
    packet_mreq membership{};
    membership.mr_ifindex = static_cast<int>(ifindex);
    membership.mr_type = PACKET_MR_PROMISC;
    check(setsockopt(socket.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) != 0);
    return socket;
}

} // namespace

void Promiscuous::set(const std::set<unsigned>& ifindexes)
{
    std::erase_if(memberships_, [&](const auto& membership) { return !ifindexes.contains(membership.first); });
    for (const unsigned ifindex : ifindexes)
        if (!memberships_.contains(ifindex)) memberships_.emplace(ifindex, make_promiscuous(ifindex));
}

} // namespace evnf
