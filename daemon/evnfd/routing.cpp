// SPDX-License-Identifier: MIT
#include "routing.hpp"

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <spdlog/logger.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include <evnf/packet_shared.h>

namespace evnf {
namespace {

using namespace std::chrono_literals;

constexpr int kDatagramsPerTurn = 64;
constexpr auto kRetry = 200ms;
constexpr auto kComplaintInterval = 60s;
constexpr std::uint64_t kInUseSeconds = 30, kForgetSeconds = 60;
constexpr std::size_t kBatchSize = 16384;

// The kernel's NUD_VALID: states in which it sends to the link address that it has.
constexpr unsigned kUsable = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;

bool is_ip(unsigned family) { return family == AF_INET || family == AF_INET6; }

std::string bytes_of(const nlattr* attribute)
{
    if (!attribute) return {};
    return {static_cast<const char*>(mnl_attr_get_payload(attribute)), mnl_attr_get_payload_len(attribute)};
}

Address address_of(unsigned family, const nlattr* attribute)
{
    Address address;
    const std::string bytes = bytes_of(attribute);
    if (family == AF_INET && bytes.size() == 4) {
        address.raw.bytes[10] = address.raw.bytes[11] = 0xff;
        std::memcpy(&address.raw.bytes[12], bytes.data(), 4);
    } else if (bytes.size() == 16) {
        std::memcpy(address.raw.bytes, bytes.data(), 16);
    }
    return address;
}

/// What a packet begins with where tc sees it leave.
evnf_link frames_of(const ifinfomsg& link)
{
    switch (link.ifi_type) {
    case ARPHRD_ETHER:
    case ARPHRD_LOOPBACK: return EVNF_LINK_ETHERNET;
    case ARPHRD_NONE:
    case ARPHRD_RAWIP:
    case ARPHRD_PPP:
    case ARPHRD_TUNNEL:
    case ARPHRD_TUNNEL6:
    case ARPHRD_SIT: return EVNF_LINK_BARE;
    case ARPHRD_IPGRE:
    case ARPHRD_IP6GRE:
        // With many remote ends the tunnel's own header is there before tc.
        return link.ifi_flags & IFF_POINTOPOINT ? EVNF_LINK_BARE : EVNF_LINK_OTHER;
    default: return EVNF_LINK_OTHER;
    }
}

/// A message of the bridge's, about a port of it, is not about the link.
std::optional<Link> link_of(const nlmsghdr& message)
{
    const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
    const auto attributes = attributes_of<IFLA_MAX>(message, sizeof *header);
    if (header->ifi_family != AF_UNSPEC || !attributes[IFLA_IFNAME]) return std::nullopt;
    Link link;
    link.name = mnl_attr_get_str(attributes[IFLA_IFNAME]);
    link.ifindex = static_cast<unsigned>(header->ifi_index);
    link.up = (header->ifi_flags & IFF_UP) && (header->ifi_flags & IFF_RUNNING);
    link.frames = frames_of(*header);
    link.loopback = header->ifi_flags & IFF_LOOPBACK;
    if (attributes[IFLA_MTU]) link.mtu = mnl_attr_get_u32(attributes[IFLA_MTU]);
    const std::string mac = bytes_of(attributes[IFLA_ADDRESS]);
    if (mac.size() == link.mac.size()) std::copy(mac.begin(), mac.end(), link.mac.begin());
    return link;
}

/// A view of a message: tables are long, and few routes are looked at closely.
struct Route {
    explicit Route(const nlmsghdr& message)
        : header{*static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message))},
          attributes{attributes_of<RTA_MAX>(message, sizeof header)}
    {
    }

    /// True where the next hop depends on more than the destination.
    bool selective() const
    {
        if (!is_ip(header.rtm_family)) return false;
        // A route by a next-hop object without a device may be by a group of them.
        const bool multipath = attributes[RTA_MULTIPATH] || (attributes[RTA_NH_ID] && !attributes[RTA_OIF]);
        return multipath || header.rtm_tos || header.rtm_src_len;
    }

    /// What identifies the route to the kernel, in bytes.
    std::string key() const
    {
        const auto number = [&](unsigned type, unsigned otherwise) {
            return attributes[type] ? mnl_attr_get_u32(attributes[type]) : otherwise;
        };
        return fmt::format("{} {} {} {} {} {} ", header.rtm_family, number(RTA_TABLE, header.rtm_table),
                           number(RTA_PRIORITY, 0), header.rtm_tos, header.rtm_dst_len, header.rtm_src_len) +
               bytes_of(attributes[RTA_DST]) + bytes_of(attributes[RTA_SRC]);
    }

    const rtmsg& header;
    std::array<const nlattr*, RTA_MAX + 1> attributes;
};

/// True where the rule looks at anything of a packet but its destination and ingress. The fast
/// path asks the FIB without a mark, an egress, a tunnel or a user: what a rule says of those is
/// the same for every packet. What this version does not know counts as selective.
bool is_selective_rule(const nlmsghdr& message)
{
    static const std::set<unsigned> kHarmless{
        FRA_DST,  FRA_IIFNAME, FRA_GOTO,   FRA_PRIORITY, FRA_FWMARK,    FRA_FLOW,     FRA_TUN_ID,
        FRA_TABLE, FRA_FWMASK, FRA_OIFNAME, FRA_L3MDEV,  FRA_UID_RANGE, FRA_PROTOCOL, FRA_PAD,
        FRA_SUPPRESS_IFGROUP,  FRA_SUPPRESS_PREFIXLEN};
    const auto* header = static_cast<const fib_rule_hdr*>(mnl_nlmsg_get_payload(&message));
    bool selective = header->tos != 0;
    for_each_attribute(message, sizeof *header, [&](const nlattr* attribute) {
        selective |= !kHarmless.contains(mnl_attr_get_type(attribute));
    });
    return selective;
}

/// Appends "this neighbour is in use" (NTF_USE): the kernel then keeps the entry and probes it
/// before it goes stale, and makes it anew where it is gone. NTF_EXT_MANAGED would do without
/// repetition, but stay behind when the daemon is killed.
void append_use(std::vector<char>& batch, const evnf_neighbour& neighbour)
{
    const bool v4 = Address::from(neighbour.address).is_v4();
    std::array<char, 128> buffer{};
    nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
    header->nlmsg_type = RTM_NEWNEIGH;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE;
    auto* body = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ndmsg)));
    body->ndm_family = v4 ? AF_INET : AF_INET6;
    body->ndm_ifindex = static_cast<int>(neighbour.ifindex);
    body->ndm_flags = NTF_USE;
    if (v4)
        mnl_attr_put(header, NDA_DST, 4, &neighbour.address.words[3]);
    else
        mnl_attr_put(header, NDA_DST, 16, &neighbour.address);
    batch.insert(batch.end(), buffer.data(), buffer.data() + header->nlmsg_len);
}

} // namespace

Routing::Routing(boost::asio::any_io_executor executor, spdlog::logger& log, Callbacks callbacks)
    : log_{log},
      callbacks_{std::move(callbacks)},
      events_{RTNLGRP_LINK, RTNLGRP_TC, RTNLGRP_NEIGH, RTNLGRP_NEXTHOP, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE,
              RTNLGRP_IPV4_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE,
              RTNLGRP_IPV6_RULE, RTNLGRP_IPV6_NETCONF},
      readable_{executor, events_.fd()},
      retry_{executor}
{
    read_all();
    wait();
}

void Routing::stop() noexcept
{
    retry_.cancel();
    if (readable_.is_open()) readable_.release(); // the descriptor is events_'s
}

std::optional<Link> Routing::find(std::string_view name) const
{
    const auto found = std::find_if(links_.begin(), links_.end(),
                                    [&](const auto& entry) { return entry.second.name == name; });
    return found == links_.end() ? std::nullopt : std::optional{found->second};
}

void Routing::wait()
{
    readable_.async_wait(readable_.wait_read, [this](const boost::system::error_code& error) {
        if (error) return; // stopped: `this` may be gone
        take_events();
        wait();
    });
}

void Routing::take_events()
{
    changed_ = false;
    try {
        for (int i = 0; i < kDatagramsPerTurn; ++i)
            if (!events_.receive([this](const nlmsghdr& message) { take(message); })) break;
        if (std::exchange(rules_stale_, false)) read_rules();
        if (std::exchange(routes_stale_, false)) read_routes();
    } catch (const std::system_error& error) { // ENOBUFS where events were lost
        lose_track(error.what());
    }
    if (changed_) callbacks_.on_change();
}

void Routing::take(const nlmsghdr& message)
{
    switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: changed_ |= take_link(message); return;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: changed_ |= take_neighbour(message); return;
    case RTM_NEWROUTE:
    case RTM_DELROUTE: take_route(message); break;
    case RTM_NEWRULE:
    case RTM_DELRULE: rules_stale_ = true; break;
    case RTM_NEWQDISC:
    case RTM_NEWTCLASS:
    case RTM_DELTCLASS:
    case RTM_NEWTFILTER:
    case RTM_NEWCHAIN:
    case RTM_DELCHAIN: return;
    case RTM_DELQDISC:
    case RTM_DELTFILTER:
        callbacks_.on_filter_loss(static_cast<unsigned>(static_cast<const tcmsg*>(mnl_nlmsg_get_payload(&message))->tcm_ifindex));
        return;
    default: break; // addresses, next-hop objects, forwarding switched on or off
    }
    changed_ = true;
}

bool Routing::take_link(const nlmsghdr& message)
{
    const std::optional<Link> link = link_of(message);
    if (!link) return false;
    const std::map<unsigned, Link> before = links_;
    if (message.nlmsg_type == RTM_NEWLINK)
        links_[link->ifindex] = *link;
    else
        links_.erase(link->ifindex);
    report_links(before);
    return true;
}

/// Next hops are remembered for neighbours that can be sent to. So what makes them wrong is the
/// loss of such a neighbour or another link address, and not a new one or another valid state.
bool Routing::take_neighbour(const nlmsghdr& message)
{
    const auto* header = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(&message));
    if (!is_ip(header->ndm_family) || header->ndm_flags & NTF_PROXY) return false;
    const auto attributes = attributes_of<NDA_MAX>(message, sizeof *header);
    const NeighbourKey key{static_cast<unsigned>(header->ndm_ifindex),
                           address_of(header->ndm_family, attributes[NDA_DST])};
    if (message.nlmsg_type == RTM_DELNEIGH || !(header->ndm_state & kUsable))
        return neighbours_.erase(key) > 0;
    const std::string link_address = bytes_of(attributes[NDA_LLADDR]);
    const auto [known, is_new] = neighbours_.try_emplace(key, link_address);
    return !is_new && std::exchange(known->second, link_address) != link_address;
}

void Routing::take_route(const nlmsghdr& message)
{
    const Route route{message};
    if (route.selective() && message.nlmsg_type == RTM_NEWROUTE)
        selective_routes_.insert(route.key());
    else if (!selective_routes_.empty() && selective_routes_.contains(route.key()))
        routes_stale_ = true; // IPv6 reports the loss of one path of several in the same words
}

void Routing::read_all()
{
    requests_.dump(
        RTM_GETLINK, [this] { links_.clear(); },
        [this](const nlmsghdr& message) {
            if (const auto link = link_of(message)) links_[link->ifindex] = *link;
        });
    requests_.dump(
        RTM_GETNEIGH, [this] { neighbours_.clear(); },
        [this](const nlmsghdr& message) { take_neighbour(message); });
    read_rules();
    read_routes();
}

void Routing::read_rules()
{
    requests_.dump(
        RTM_GETRULE, [this] { selective_rules_ = false; },
        [this](const nlmsghdr& message) {
            const auto* header = static_cast<const fib_rule_hdr*>(mnl_nlmsg_get_payload(&message));
            selective_rules_ |= is_ip(header->family) && is_selective_rule(message);
        });
}

void Routing::read_routes()
{
    requests_.dump(
        RTM_GETROUTE, [this] { selective_routes_.clear(); },
        [this](const nlmsghdr& message) {
            const Route route{message};
            if (route.selective()) selective_routes_.insert(route.key());
        });
}

void Routing::report_links(const std::map<unsigned, Link>& before)
{
    for (const auto& [ifindex, link] : before) {
        const auto now = links_.find(ifindex);
        if (now == links_.end() || now->second.name != link.name) callbacks_.on_link(link.name, nullptr);
    }
    for (const auto& [ifindex, link] : links_) {
        const auto then = before.find(ifindex);
        if (then == before.end() || then->second != link) callbacks_.on_link(link.name, &link);
    }
}

/// Until the tables are read anew, nothing is remembered: the fast path asks the FIB each time.
void Routing::lose_track(const std::string& reason)
{
    if (!lost_) log_.warn("routing: {}; reading the kernel's tables anew", reason);
    lost_ = true;
    changed_ = true;
    retry_.expires_after(kRetry);
    retry_.async_wait([this](const boost::system::error_code& error) {
        if (!error) find_track();
    });
}

void Routing::find_track()
{
    const std::map<unsigned, Link> before = links_;
    try {
        // Older than the tables, and without those that were lost among them.
        while (events_.receive([](const nlmsghdr&) {})) {
        }
        read_all();
        lost_ = false;
        report_links(before);
        for (const auto& [ifindex, link] : links_) callbacks_.on_filter_loss(ifindex);
    } catch (const std::system_error& error) {
        lose_track(error.what());
    }
    callbacks_.on_change();
}

void Routing::refresh_neighbours(const MapRef& neighbours, std::uint64_t now, unsigned hz) noexcept
try {
    use_neighbours(neighbours, now, hz);
} catch (const std::exception& error) {
    complain(error.what());
}

void Routing::use_neighbours(const MapRef& neighbours, std::uint64_t now, unsigned hz)
{
    std::vector<evnf_neighbour> forgotten;
    std::vector<char> batch;
    neighbours.for_each<evnf_neighbour, std::uint64_t>([&](const auto& neighbour, std::uint64_t used) {
        const std::uint64_t age = now > used ? (now - used) / hz : 0;
        const auto link = links_.find(neighbour.ifindex);
        if (link == links_.end() || age > kForgetSeconds)
            forgotten.push_back(neighbour);
        else if (link->second.up && age <= kInUseSeconds)
            append_use(batch, neighbour);
        if (batch.size() > kBatchSize) flush(batch);
    });
    flush(batch);
    for (const evnf_neighbour& neighbour : forgotten) neighbours.erase(neighbour);
}

/// The kernel answers only what it refuses, with the message that it refused.
void Routing::flush(std::vector<char>& batch)
{
    if (batch.empty()) return;
    requests_.send(batch.data(), batch.size());
    batch.clear();
    while (requests_.receive([this](const nlmsghdr& answer) {
        if (answer.nlmsg_type != NLMSG_ERROR) return;
        const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(&answer));
        if (!error->error) return;
        const auto* body = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(&error->msg));
        const auto attributes = attributes_of<NDA_MAX>(error->msg, sizeof *body);
        const auto link = links_.find(static_cast<unsigned>(body->ndm_ifindex));
        const std::string address = address_of(body->ndm_family, attributes[NDA_DST]).text();
        complain(fmt::format("cannot keep neighbour {} on {} alive: {}", address,
                             link == links_.end() ? "?" : link->second.name, std::strerror(-error->error)));
    })) {
    }
}

void Routing::complain(const std::string& what)
{
    const auto now = std::chrono::steady_clock::now();
    if (now < next_complaint_) return;
    next_complaint_ = now + kComplaintInterval;
    log_.warn("routing: {} (further such messages are held back for {} s)", what,
              std::chrono::seconds{kComplaintInterval}.count());
}

} // namespace evnf
