// SPDX-License-Identifier: MIT
#include "vip_device.hpp"

#include <fmt/format.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace evnf {

namespace {

constexpr const char* kOtherEnd = "evnf0-end";
constexpr const char* kAlias = "eVNF: VIPs are routed here";
constexpr unsigned char kProtocol = 229; // of our routes; nobody in /etc/iproute2/rt_protos has it
constexpr std::uint8_t kNoAddresses = 1; // IN6_ADDR_GEN_MODE_NONE

/// A request under construction.
struct Request {
    alignas(nlmsghdr) std::array<char, 1024> buffer{};

    Request(std::uint16_t type, unsigned flags)
    {
        nlmsghdr* started = mnl_nlmsg_put_header(buffer.data());
        started->nlmsg_type = type;
        started->nlmsg_flags = static_cast<std::uint16_t>(flags);
    }
    nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(buffer.data()); }
    template <class Body>
    Body& body()
    {
        return *static_cast<Body*>(mnl_nlmsg_put_extra_header(header(), sizeof(Body)));
    }
};

/// RTM_NEWLINK for the pair, both ends down.
Request make_pair()
{
    Request request{RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL};
    request.body<ifinfomsg>();
    mnl_attr_put_strz(request.header(), IFLA_IFNAME, VipDevice::kName);
    nlattr* info = mnl_attr_nest_start(request.header(), IFLA_LINKINFO);
    mnl_attr_put_strz(request.header(), IFLA_INFO_KIND, "veth");
    nlattr* data = mnl_attr_nest_start(request.header(), IFLA_INFO_DATA);
    nlattr* peer = mnl_attr_nest_start(request.header(), VETH_INFO_PEER);
    request.body<ifinfomsg>();
    mnl_attr_put_strz(request.header(), IFLA_IFNAME, kOtherEnd);
    mnl_attr_nest_end(request.header(), peer);
    mnl_attr_nest_end(request.header(), data);
    mnl_attr_nest_end(request.header(), info);
    return request;
}

Request change_link(unsigned ifindex)
{
    Request request{RTM_NEWLINK, 0};
    request.body<ifinfomsg>().ifi_index = static_cast<int>(ifindex);
    return request;
}

/// No address is made up for the interface when it goes up.
Request without_addresses(unsigned ifindex)
{
    Request request = change_link(ifindex);
    nlattr* families = mnl_attr_nest_start(request.header(), IFLA_AF_SPEC);
    nlattr* inet6 = mnl_attr_nest_start(request.header(), AF_INET6);
    mnl_attr_put_u8(request.header(), IFLA_INET6_ADDR_GEN_MODE, kNoAddresses);
    mnl_attr_nest_end(request.header(), inet6);
    mnl_attr_nest_end(request.header(), families);
    return request;
}

Request up_without_arp(unsigned ifindex)
{
    Request request{RTM_NEWLINK, 0};
    auto& body = request.body<ifinfomsg>();
    body.ifi_index = static_cast<int>(ifindex);
    body.ifi_flags = body.ifi_change = IFF_UP | IFF_NOARP;
    return request;
}

struct Found {
    unsigned ifindex = 0;
    std::string alias;
};

Found find_device(Netlink& netlink)
{
    Found found;
    netlink.dump(
        RTM_GETLINK, [&] { found = {}; },
        [&](const nlmsghdr& message) {
            const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
            const auto attributes = attributes_of<IFLA_MAX>(message, sizeof *header);
            if (!attributes[IFLA_IFNAME] || std::strcmp(mnl_attr_get_str(attributes[IFLA_IFNAME]), VipDevice::kName) != 0) return;
            found.ifindex = static_cast<unsigned>(header->ifi_index);
            if (attributes[IFLA_IFALIAS]) found.alias = mnl_attr_get_str(attributes[IFLA_IFALIAS]);
        });
    return found;
}

void must(int error, const std::string& what)
{
    if (error) throw_errno(error, what);
}

} // namespace

Device VipDevice::ensure(unsigned mtu)
{
    Found found = find_device(netlink_);
    if (!found.ifindex) {
        Request pair = make_pair();
        must(netlink_.request(*pair.header()), fmt::format("cannot make the device {} for VIPs", kName));
        found = find_device(netlink_);
    } else if (found.alias != kAlias && if_nametoindex(kOtherEnd) == 0) {
        throw std::runtime_error{fmt::format("an interface {0} is there that is not eVNF's, which needs the name for the routes of VIPs: "
                                             "rename it (ip link set {0} name NAME)",
                                             kName)};
    }
    ifindex_ = found.ifindex;
    Request setting = change_link(ifindex_);
    mnl_attr_put_strz(setting.header(), IFLA_IFALIAS, kAlias);
    mnl_attr_put_u32(setting.header(), IFLA_MTU, mtu);
    must(netlink_.request(*setting.header()), fmt::format("cannot set up the device {}", kName));
    for (const unsigned end : {ifindex_, if_nametoindex(kOtherEnd)}) {
        Request addresses = without_addresses(end), up = up_without_arp(end);
        const int error = netlink_.request(*addresses.header());
        // Without IPv6 in the kernel there is nothing to prevent.
        if (error != EAFNOSUPPORT) must(error, fmt::format("cannot set up the device {}", kName));
        must(netlink_.request(*up.header()), fmt::format("cannot set the device {} up", kName));
    }
    return {kName, ifindex_};
}

int VipDevice::change_route(std::uint16_t type, unsigned flags, const Address& address)
{
    Request request{type, flags};
    auto& body = request.body<rtmsg>();
    const bool v4 = address.is_v4();
    body.rtm_family = v4 ? AF_INET : AF_INET6;
    body.rtm_dst_len = v4 ? 32 : 128;
    body.rtm_table = RT_TABLE_MAIN;
    body.rtm_protocol = kProtocol;
    body.rtm_scope = v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    body.rtm_type = RTN_UNICAST;
    if (v4)
        mnl_attr_put(request.header(), RTA_DST, 4, &address.raw.words[3]);
    else
        mnl_attr_put(request.header(), RTA_DST, 16, &address.raw);
    mnl_attr_put_u32(request.header(), RTA_OIF, ifindex_);
    return netlink_.request(*request.header());
}

std::set<Address> VipDevice::routed()
{
    std::set<Address> addresses;
    netlink_.dump(
        RTM_GETROUTE, [&] { addresses.clear(); },
        [&](const nlmsghdr& message) {
            const auto& header = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
            const auto attributes = attributes_of<RTA_MAX>(message, sizeof header);
            if (header.rtm_protocol != kProtocol || !attributes[RTA_DST] || !attributes[RTA_OIF] ||
                mnl_attr_get_u32(attributes[RTA_OIF]) != ifindex_)
                return;
            Address address;
            const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attributes[RTA_DST]));
            if (header.rtm_family == AF_INET) {
                address.raw.bytes[10] = address.raw.bytes[11] = 0xff;
                std::copy(bytes, bytes + 4, address.raw.bytes + 12);
            } else {
                std::copy(bytes, bytes + 16, address.raw.bytes);
            }
            addresses.insert(address);
        });
    return addresses;
}

void VipDevice::route(const std::set<Address>& addresses)
{
    const auto there = routed();
    for (const auto& address : addresses) {
        if (there.contains(address)) continue;
        const int error = change_route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, address);
        if (error == EEXIST)
            log_.warn("VIP {0} has a route already, which stays: what netfilter passes of it does not meet the load balancer; "
                      "remove it (ip route del {0}) and reload",
                      address.text());
        else
            must(error, fmt::format("cannot route VIP {} to {}", address.text(), kName));
    }
}

void VipDevice::keep_only(const std::set<Address>& addresses)
{
    if (!ifindex_) return;
    for (const auto& address : routed())
        if (!addresses.contains(address)) change_route(RTM_DELROUTE, 0, address);
}

void VipDevice::remove()
{
    const Found found = find_device(netlink_);
    if (!found.ifindex || found.alias != kAlias) return;
    Request request{RTM_DELLINK, 0};
    request.body<ifinfomsg>().ifi_index = static_cast<int>(found.ifindex);
    must(netlink_.request(*request.header()), fmt::format("cannot remove the device {}", kName));
    ifindex_ = 0;
}

} // namespace evnf
