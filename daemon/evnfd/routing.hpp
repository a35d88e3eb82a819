// SPDX-License-Identifier: MIT
/// The kernel's links, addresses, routes, neighbours and rules, as far as the fast path depends on
/// them: what netlink reports makes the next hops that it remembers invalid.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <evnf/address.hpp>
#include <evnf/bpf.hpp>
#include <evnf/packet_shared.h>

#include "netlink.hpp"

namespace spdlog {
class logger;
}

namespace evnf {

struct Link {
    std::string name;
    unsigned ifindex = 0;
    std::array<std::uint8_t, 6> mac{}; ///< zero where the link has no Ethernet address
    bool up = false;                   ///< administratively up, and with a carrier
    unsigned mtu = 0;
    evnf_link frames = EVNF_LINK_OTHER; ///< what they begin with
    bool loopback = false;

    bool operator==(const Link&) const = default;
};

/// Callbacks and all members are for the executor's thread. The constructor reads the tables and
/// calls no callback.
class Routing {
public:
    struct Callbacks {
        /// A remembered next hop may be wrong, or cacheable() changed: write a new generation to
        /// evnf_routing. Once for a burst of changes.
        std::function<void()> on_change;
        /// A link came, or its index, MAC address, state or MTU changed. Null: it went, or has
        /// another name now. Called before on_change.
        std::function<void(const std::string& name, const Link* link)> on_link;
        /// A tc filter or qdisc of the interface went, or may have gone.
        std::function<void(unsigned ifindex)> on_filter_loss;
    };

    Routing(boost::asio::any_io_executor executor, spdlog::logger& log, Callbacks callbacks);
    ~Routing() { stop(); }
    Routing(const Routing&) = delete;
    Routing& operator=(const Routing&) = delete;

    std::optional<Link> find(std::string_view name) const;
    /// By interface index.
    const std::map<unsigned, Link>& links() const noexcept { return links_; }

    /// Whether the next hop is a function of destination and ingress port, so that it may be
    /// remembered by these. Not so where a rule looks at the source, the type of service, the
    /// protocol or ports; where a route is a multipath route, or for some sources or types of
    /// service only; and while we have lost track of the kernel's tables.
    bool cacheable() const noexcept { return !lost_ && !selective_rules_ && selective_routes_.empty(); }

    /// Keeps the neighbours of evnf_neighbours (used in the last 30 s) alive: XDP traffic does not
    /// tell the kernel that an entry is in use. Forgets what was not used for 60 s. Never throws.
    /// Call it every 5 s, the kernel's own delay before it probes an entry in use.
    /// `now` in jiffies, of which a second has `hz`.
    void refresh_neighbours(const MapRef& neighbours, std::uint64_t now, unsigned hz) noexcept;

    void stop() noexcept;

private:
    using NeighbourKey = std::pair<unsigned, Address>; // interface, address

    void wait();
    void take_events();
    void take(const nlmsghdr& message);
    bool take_link(const nlmsghdr& message);
    bool take_neighbour(const nlmsghdr& message);
    void take_route(const nlmsghdr& message);
    void read_all();
    void read_rules();
    void read_routes();
    void report_links(const std::map<unsigned, Link>& before);
    void lose_track(const std::string& reason);
    void find_track();
    void use_neighbours(const MapRef& neighbours, std::uint64_t now, unsigned hz);
    void flush(std::vector<char>& batch);
    void complain(const std::string& what);

    spdlog::logger& log_;
    Callbacks callbacks_;
    Netlink events_, requests_;
    boost::asio::posix::stream_descriptor readable_;
    boost::asio::steady_timer retry_;

    std::map<unsigned, Link> links_;                 // by interface index
    std::map<NeighbourKey, std::string> neighbours_; // that can be sent to, with their link addresses
    std::set<std::string> selective_routes_;         // see cacheable()
    bool selective_rules_ = false;
    bool lost_ = false;
    bool changed_ = false, rules_stale_ = false, routes_stale_ = false; // by the events being taken
    std::chrono::steady_clock::time_point next_complaint_{};
};

} // namespace evnf
