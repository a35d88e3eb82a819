// SPDX-License-Identifier: MIT
/// The device that virtual addresses are routed to. They belong to no interface, so the kernel forwards packets to them:
/// netfilter sees the VIP in FORWARD, and the filter at the device's egress takes the packet on along its chain.
#pragma once

#include <spdlog/logger.h>

#include <set>

#include <evnf/address.hpp>

#include "netlink.hpp"
#include "tc_filter.hpp"

namespace evnf {

/// One end of a veth pair, without ARP; nothing ever arrives at the other end. The device and its routes outlive the
/// daemon, as the chains do.
class VipDevice {
public:
    explicit VipDevice(spdlog::logger& log) : log_{log} {}

    /// Makes the device where it is missing and gives it the MTU, so that the kernel says what is too large before the
    /// chain finds out. Throws when something else has its name.
    Device ensure(unsigned mtu);
    /// Adds the routes that are missing. An address that is routed otherwise already is left so, with a warning.
    void route(const std::set<Address>& addresses);
    /// Removes our routes to other addresses.
    void keep_only(const std::set<Address>& addresses);
    /// Removes device and routes, where they are.
    void remove();

    static constexpr const char* kName = "evnf0";

private:
    std::set<Address> routed();
    int change_route(std::uint16_t type, unsigned flags, const Address& address);

    spdlog::logger& log_;
    Netlink netlink_;
    unsigned ifindex_ = 0;
};

} // namespace evnf
