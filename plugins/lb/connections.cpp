// SPDX-License-Identifier: MIT
#include "connections.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace evnf::lb {

namespace {

using namespace std::chrono_literals;

/// A half-closed connection may wait this long for its other half: longer than `fin`, since one side
/// may still be sending, and far less than `established`, since many never finish.
constexpr std::chrono::milliseconds kHalfClosed = 5min;

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

/// The tuple of the packets that travel against those with `tuple`, which are written as `entry` says.
lb_tuple Connections::against(const lb_tuple& tuple, const lb_connection& entry) const
{
    lb_tuple after = tuple;
    if (entry.flags & LB_FULLNAT)
        after = fullnat_.find<lb_tuple>(tuple).value_or(tuple);
    else if (entry.direction == LB_TO_SERVER)
        after.dst = entry.address, after.dport = entry.port;
    else
        after.src = entry.address, after.sport = entry.port;
    std::swap(after.src, after.dst);
    std::swap(after.sport, after.dport);
    return after;
}

void Connections::erase(const lb_tuple& tuple, const lb_connection& entry) const
{
    table_.erase(tuple);
    if (entry.flags & LB_FULLNAT) fullnat_.erase(tuple);
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
    const auto reply = against(connection.tuple, connection.to_server);
    erase(connection.tuple, connection.to_server);
    erase(reply, connection.to_client);
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
        if (!to_server || !writes(*to_server, tuple.src, tuple.sport)) erase(tuple, *entry);
        return;
    }
    const auto connection = join(tuple, *entry, now);
    if (!connection)
        erase(tuple, *entry);
    else if (connection->idle >= limits_.of(connection->state))
        forget(*connection);
}

bool Connections::expire_some(std::uint64_t now)
{
    return !table_.for_each_part<lb_tuple, lb_connection>(
        cursor_, [&](const lb_tuple& tuple, const lb_connection& entry) { expire(tuple, entry, now); });
}

void Connections::for_each_entry(const VisitServer& visit) const
{
    table_.for_each<lb_tuple, lb_connection>([&](const lb_tuple& tuple, const lb_connection& entry) {
        if (entry.direction == LB_TO_SERVER) visit(tuple, entry);
    });
}

/// Nothing where the place is free, is just being written, or holds what is forgotten or in the table by now.
std::optional<Connection> Connections::connection_of(const lb_opening& opening, std::uint64_t now) const
{
    const auto head = __atomic_load_n(&opening.head, __ATOMIC_ACQUIRE);
    if ((head & (LB_OPENING_USED | LB_OPENING_BUSY | LB_OPENING_MOVED)) != LB_OPENING_USED) return std::nullopt;
    const bool udp = head & LB_OPENING_UDP;
    Connection connection{};
    connection.state = udp ? LB_STATE_UDP : LB_STATE_SYN;
    connection.age = connection.idle = since(static_cast<std::uint32_t>(head), now);
    if (connection.idle >= limits_.of(connection.state)) return std::nullopt;
    connection.tuple.src = opening.client;
    connection.tuple.dst = opening.vip;
    connection.tuple.sport = opening.client_port;
    connection.tuple.dport = opening.vip_port;
    connection.tuple.protocol = udp ? IPPROTO_UDP : IPPROTO_TCP;
    connection.to_server.address = opening.server;
    connection.to_server.port = opening.server_port;
    connection.to_server.backend = opening.backend;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    constexpr __u64 version = LB_OPENING_USED - LB_OPENING_VERSION;
    if ((__atomic_load_n(&opening.head, __ATOMIC_RELAXED) ^ head) & version) return std::nullopt;
    return connection;
}

void Connections::for_each_opening(std::uint64_t now, const std::function<void(const Connection&)>& visit) const
{
    for (const auto& set : openings_.rows())
        for (const auto& opening : set.ways)
            if (const auto connection = connection_of(opening, now)) visit(*connection);
}

void Connections::for_each_server(std::uint64_t now, const VisitServer& visit) const
{
    for_each_entry(visit);
    for_each_opening(now, [&](const Connection& opening) { visit(opening.tuple, opening.to_server); });
}

void Connections::for_each(std::uint64_t now, const std::function<void(const Connection&)>& visit) const
{
    for_each_entry([&](const lb_tuple& tuple, const lb_connection& to_server) {
        if (const auto connection = join(tuple, to_server, now)) visit(*connection);
    });
    for_each_opening(now, visit);
}

std::size_t Connections::count() const
{
    std::size_t count = 0;
    for_each_entry([&](const lb_tuple&, const lb_connection&) { ++count; });
    return count;
}

std::size_t Connections::count_openings(std::uint64_t now) const
{
    std::size_t count = 0;
    for_each_opening(now, [&](const Connection&) { ++count; });
    return count;
}

} // namespace evnf::lb
