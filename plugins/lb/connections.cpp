// SPDX-License-Identifier: MIT
#include "connections.hpp"

#include <algorithm>
#include <cstring>

namespace evnf::lb {

namespace {

using namespace std::chrono_literals;

/// A half-closed connection may wait this long for its other half: longer than `fin`, since one side
/// may still be sending, and far less than `established`, since many never finish.
constexpr std::chrono::milliseconds kHalfClosed = 5min;

/// The tuple of the packets that travel against `tuple` when those are given this address and port.
lb_tuple against(const lb_tuple& tuple, const lb_connection& entry)
{
    lb_tuple other{};
    other.protocol = tuple.protocol;
    if (entry.direction == LB_TO_SERVER) {
        other.src = entry.address;
        other.sport = entry.port;
        other.dst = tuple.src;
        other.dport = tuple.sport;
    } else {
        other.src = tuple.dst;
        other.sport = tuple.dport;
        other.dst = entry.address;
        other.dport = entry.port;
    }
    return other;
}

/// From `then` to `now` on a 32-bit clock. An entry may be newer than `now`, which was read before.
std::uint32_t since(std::uint32_t then, std::uint64_t now)
{
    return static_cast<std::uint32_t>(
        std::max(0, static_cast<std::int32_t>(static_cast<std::uint32_t>(now) - then)));
}

std::uint32_t idle(const lb_connection& entry, std::uint64_t now)
{
    return since(entry.last_seen, now);
}

std::uint64_t age(const lb_connection& entry, std::uint64_t now)
{
    return std::uint64_t{since(entry.made, now >> LB_MADE_SHIFT)} << LB_MADE_SHIFT;
}

/// Whether the entry writes this address and port.
bool writes(const lb_connection& entry, const evnf_address& address, __be16 port)
{
    return std::memcmp(&entry.address, &address, sizeof address) == 0 && entry.port == port;
}

} // namespace

std::string_view name_of(lb_state state)
{
    switch (state) {
        case LB_STATE_SYN:
            return "syn";
        case LB_STATE_ESTABLISHED:
            return "established";
        case LB_STATE_FIN:
            return "fin";
        case LB_STATE_CLOSED:
            return "closed";
        case LB_STATE_UDP:
            return "udp";
    }
    return "";
}

Limits::Limits(const Timeouts& timeouts, unsigned jiffies_per_second)
{
    const auto jiffies = [&](std::chrono::milliseconds time) {
        return static_cast<std::uint32_t>(time.count() * jiffies_per_second / 1000);
    };
    limits_[LB_STATE_SYN] = jiffies(timeouts.syn);
    limits_[LB_STATE_ESTABLISHED] = jiffies(timeouts.established);
    limits_[LB_STATE_FIN] = jiffies(std::max(timeouts.fin, std::min(kHalfClosed, timeouts.established)));
    limits_[LB_STATE_CLOSED] = jiffies(timeouts.fin);
    limits_[LB_STATE_UDP] = jiffies(timeouts.udp);
}

std::uint32_t Limits::shortest() const
{
    return *std::min_element(std::begin(limits_), std::end(limits_));
}

/// The connection that an entry to the server belongs to; nothing where the reply entry is not its own.
std::optional<Connection> Connections::join(const lb_tuple& tuple, const lb_connection& to_server,
                                            std::uint64_t now) const
{
    const auto to_client = table_.find<lb_connection>(against(tuple, to_server));
    if (!to_client || !writes(*to_client, tuple.dst, tuple.dport)) return std::nullopt;
    return Connection{tuple,
                      to_server,
                      *to_client,
                      lb_state_of(tuple.protocol, to_server.flags, to_client->flags),
                      age(to_server, now),
                      std::min(idle(to_server, now), idle(*to_client, now))};
}

/// The entry to the server goes first, as in the fast path: what is translated has a way back.
void Connections::forget(const Connection& connection) const
{
    table_.erase(connection.tuple);
    table_.erase(against(connection.tuple, connection.to_server));
}

void Connections::expire(const lb_tuple& tuple, const lb_connection& seen, std::uint64_t now) const
{
    if (idle(seen, now) < limits_.shortest()) return;
    // What the batch said may be old by now: only a fresh look decides.
    const auto entry = table_.find<lb_connection>(tuple);
    if (!entry) return;
    if (entry->direction == LB_TO_CLIENT) {
        const auto other = against(tuple, *entry);
        const auto to_server = table_.find<lb_connection>(other);
        if (!to_server || !writes(*to_server, tuple.src, tuple.sport)) table_.erase(tuple);
        return;
    }
    const auto connection = join(tuple, *entry, now);
    if (!connection)
        table_.erase(tuple);
    else if (connection->idle >= limits_.of(connection->state))
        forget(*connection);
}

bool Connections::expire_some(std::uint64_t now)
{
    return !table_.for_each_part<lb_tuple, lb_connection>(
        cursor_, [&](const lb_tuple& tuple, const lb_connection& entry) { expire(tuple, entry, now); });
}

void Connections::for_each_server(
    const std::function<void(const lb_tuple&, const lb_connection& to_server)>& visit) const
{
    table_.for_each<lb_tuple, lb_connection>([&](const lb_tuple& tuple, const lb_connection& entry) {
        if (entry.direction == LB_TO_SERVER) visit(tuple, entry);
    });
}

void Connections::for_each(std::uint64_t now, const std::function<void(const Connection&)>& visit) const
{
    for_each_server([&](const lb_tuple& tuple, const lb_connection& to_server) {
        if (const auto connection = join(tuple, to_server, now)) visit(*connection);
    });
}

} // namespace evnf::lb
