// SPDX-License-Identifier: MIT
/// The slow path's side of the connection tables: what a connection's state is, listing, expiry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include <evnf/bpf.hpp>
#include <evnf/mapped_array.hpp>

#include "lb_shared.h"
#include "settings.hpp"

namespace evnf::lb {

/// A connection: both entries of the table seen as one.
struct Connection {
    lb_tuple tuple; ///< client -> VIP
    lb_connection to_server;
    lb_connection to_client;
    lb_state state;
    std::uint64_t age;  ///< jiffies since the first packet
    std::uint32_t idle; ///< jiffies since the latest packet of either direction
};

/// As contract.md names it: "syn", "established", "fin", "closed", "udp".
std::string_view name_of(lb_state state);

/// Timeouts in the clock of the fast path.
class Limits {
public:
    Limits(const Timeouts& timeouts, unsigned jiffies_per_second);
    std::uint32_t of(lb_state state) const { return limits_[state]; }
    std::uint32_t shortest() const;

private:
    std::uint32_t limits_[LB_STATE_UDP + 1];
};

class Connections {
public:
    /// lb_openings.
    using Openings = MappedArray<lb_opening_set>;
    static Openings map_openings(const MapRef& array) { return {array, 1 << LB_OPENING_BITS}; }

    /// `table` is lb_connections and `fullnat` lb_fullnat, which must outlive this.
    Connections(MapRef table, MapRef fullnat, Openings openings, const Limits& limits)
        : table_{std::move(table)}, fullnat_{std::move(fullnat)}, openings_{std::move(openings)}, limits_{limits}
    {
    }

    /// Looks at the next part of the table, a bounded number of entries, and deletes what has been
    /// idle for too long at `now` (jiffies). True when that was the last part; the next call
    /// begins again.
    bool expire_some(std::uint64_t now);

    /// Those of the table first, then the half-open ones.
    void for_each(std::uint64_t now, const std::function<void(const Connection&)>& visit) const;
    /// Only who talks to whom: a fraction of the work.
    void for_each_server(
        std::uint64_t now, const std::function<void(const lb_tuple&, const lb_connection& to_server)>& visit) const;

    std::size_t count() const;
    std::size_t count_openings(std::uint64_t now) const;

private:
    using VisitServer = std::function<void(const lb_tuple&, const lb_connection& to_server)>;
    void for_each_entry(const VisitServer& visit) const;
    std::optional<Connection> connection_of(const lb_opening& opening, std::uint64_t now) const;
    /// Openings that have not become connections of the table, and are not forgotten.
    void for_each_opening(std::uint64_t now, const std::function<void(const Connection&)>& visit) const;
    std::optional<Connection> join(const lb_tuple& tuple, const lb_connection& to_server,
                                   std::uint64_t now) const;
    void expire(const lb_tuple& tuple, const lb_connection& entry, std::uint64_t now) const;
    void forget(const Connection& connection) const;
    void erase(const lb_tuple& tuple, const lb_connection& entry) const;
    lb_tuple against(const lb_tuple& tuple, const lb_connection& entry) const;

    MapRef table_, fullnat_;
    Openings openings_;
    Limits limits_;
    std::vector<std::byte> cursor_;
};

} // namespace evnf::lb
