// SPDX-License-Identifier: MIT
/// The slow path's side of the connection table: what a connection's state is, listing, expiry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include <evnf/bpf.hpp>
#include <evnf/mapped_array.hpp>

#include "lb_shared.h"
#include "settings.hpp"

namespace evnf::lb {

/// A connection as it was at one moment.
struct Connection {
    lb_connection ends;
    std::uint8_t protocol;
    bool kept; ///< else it gives way when its set is full
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
    /// Of what is kept.
    std::uint32_t shortest() const;

private:
    std::uint32_t limits_[LB_STATE_UDP + 1];
};

/// lb_connections as memory.
using ConnectionTable = MappedArray<lb_set>;

/// Elements of lb_connections for so many connections: with all of them there, one in 60 finds its set full; with half of them, one in 1300.
std::uint32_t sets_for(std::uint32_t max_connections);

/// What `from` holds, into the empty table `to`, of another size; both are state of the hash key `key`. What finds no room is lost:
/// how many of those that are kept.
std::size_t carry_over(const ConnectionTable& from, const ConnectionTable& to, const lb_hash_key& key);

class Connections {
public:
    /// `fullnat` is lb_fullnat, which must outlive this.
    Connections(ConnectionTable table, MapRef fullnat, const Limits& limits)
        : table_{std::move(table)}, fullnat_{std::move(fullnat)}, limits_{limits}
    {
    }

    /// Looks at the next part of the table, a bounded number of sets, and forgets what has been
    /// idle for too long at `now` (jiffies). True when that was the last part; the next call
    /// begins again.
    bool expire_some(std::uint64_t now);

    void for_each(std::uint64_t now, const std::function<void(const Connection&)>& visit) const;

    const Limits& limits() const noexcept { return limits_; }

    struct Count {
        std::size_t kept = 0, others = 0;
    };
    Count count(std::uint64_t now) const;

private:
    bool is_idle(lb_head head, std::uint64_t now) const;
    void expire(lb_set& set, unsigned way, std::uint64_t now) const;
    void give_back_port(const lb_connection& ends, std::uint8_t protocol) const;

    ConnectionTable table_;
    MapRef fullnat_;
    Limits limits_;
    std::size_t next_ = 0; // set to look at
};

} // namespace evnf::lb
