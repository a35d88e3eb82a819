// SPDX-License-Identifier: MIT
#include "connections.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace evnf::lb {

namespace {

using namespace std::chrono_literals;

/// A half-closed connection may wait this long for its other half: longer than `fin`, since one side
/// may still be sending, and far less than `established`, since many never finish.
constexpr std::chrono::milliseconds kHalfClosed = 5min;
/// As many as a set may have on average when all are there: that its LB_KEPT_WAYS do not suffice is rare then.
constexpr std::uint32_t kConnectionsOfSet = 3;
/// Sets that are looked at without a pause: some milliseconds.
constexpr std::size_t kPart = 4096;

/// From `then` to `now` on a 32-bit clock. What is there may be newer than `now`, which was read before.
std::uint32_t since(std::uint32_t then, std::uint64_t now)
{
    return static_cast<std::uint32_t>(
        std::max(0, static_cast<std::int32_t>(static_cast<std::uint32_t>(now) - then)));
}

bool is_there(lb_head head)
{
    return (head & (LB_USED | LB_BUSY)) == LB_USED;
}

std::uint8_t protocol_of(lb_head head)
{
    return head & LB_UDP ? IPPROTO_UDP : IPPROTO_TCP;
}

/// The connection with this head; nothing where its place is just being given to another one.
std::optional<lb_connection> read(const lb_set& set, unsigned way, lb_head head)
{
    const lb_connection ends = set.ways[way];
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((__atomic_load_n(&set.heads[way], __ATOMIC_RELAXED) ^ head) & LB_VERSIONS) return std::nullopt;
    return ends;
}

/// False where the set has no room.
bool put(lb_set& set, std::uint8_t tag, lb_head head, const lb_connection& ends)
{
    const auto kept = std::ranges::count_if(set.heads, [](lb_head other) { return other & LB_KEPT; });
    const auto free = std::ranges::find(set.heads, lb_head{0});
    if (free == std::end(set.heads) || (head & LB_KEPT && kept >= LB_KEPT_WAYS)) return false;
    const auto way = free - std::begin(set.heads);
    set.tags[way] = tag;
    set.ways[way] = ends;
    *free = head;
    return true;
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
    return std::min({limits_[LB_STATE_ESTABLISHED], limits_[LB_STATE_FIN], limits_[LB_STATE_CLOSED], limits_[LB_STATE_UDP]});
}

std::uint32_t sets_for(std::uint32_t max_connections)
{
    return max_connections / kConnectionsOfSet + 1;
}

std::size_t carry_over(const ConnectionTable& from, const ConnectionTable& to, const lb_hash_key& key)
{
    const auto sets = static_cast<__u32>(to.rows().size());
    std::size_t lost = 0;
    // What is kept first: an opening must not have its place.
    for (const lb_head kept : {LB_KEPT, lb_head{0}})
        for (const auto& set : from.rows())
            for (unsigned way = 0; way < LB_WAYS; ++way) {
                const auto head = __atomic_load_n(&set.heads[way], __ATOMIC_ACQUIRE);
                if (!is_there(head) || (head & LB_KEPT) != kept) continue;
                const auto ends = read(set, way, head);
                if (!ends) continue;
                const auto mixed = lb_mix(&ends->client, ends->client_port, protocol_of(head), &key);
                if (!put(to.rows()[lb_set_of(mixed, sets)], lb_tag_of(mixed), head, *ends) && kept) ++lost;
            }
    return lost;
}

bool Connections::is_idle(lb_head head, std::uint64_t now) const
{
    return lb_idle(head, now) > static_cast<std::int64_t>(limits_.of(lb_state_of(head)));
}

void Connections::give_back_port(const lb_connection& ends, std::uint8_t protocol) const
{
    lb_tuple before{};
    before.src = ends.client, before.sport = ends.client_port;
    before.dst = ends.vip, before.dport = ends.vip_port;
    before.protocol = protocol;
    auto after = fullnat_.find<lb_tuple>(before);
    if (!after) return;
    std::swap(after->src, after->dst);
    std::swap(after->sport, after->dport);
    fullnat_.erase(*after);
    fullnat_.erase(before);
}

void Connections::expire(lb_set& set, unsigned way, std::uint64_t now) const
{
    auto head = __atomic_load_n(&set.heads[way], __ATOMIC_ACQUIRE);
    if (!is_there(head) || !is_idle(head, now)) return;
    const auto ends = read(set, way, head);
    // A packet that comes at this moment has changed the head: the connection lives.
    if (!ends || !__atomic_compare_exchange_n(&set.heads[way], &head, head & ~LB_USED, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return;
    if (head & LB_FULLNAT) give_back_port(*ends, protocol_of(head));
}

bool Connections::expire_some(std::uint64_t now)
{
    const auto rows = table_.rows();
    const auto end = std::min(rows.size(), next_ + kPart);
    for (; next_ < end; ++next_)
        for (unsigned way = 0; way < LB_WAYS; ++way) expire(rows[next_], way, now);
    if (next_ < rows.size()) return false;
    next_ = 0;
    return true;
}

void Connections::for_each(std::uint64_t now, const std::function<void(const Connection&)>& visit) const
{
    for (const auto& set : table_.rows())
        for (unsigned way = 0; way < LB_WAYS; ++way) {
            const auto head = __atomic_load_n(&set.heads[way], __ATOMIC_ACQUIRE);
            if (!is_there(head) || is_idle(head, now)) continue;
            const auto ends = read(set, way, head);
            if (!ends) continue;
            visit({*ends, protocol_of(head), (head & LB_KEPT) != 0, lb_state_of(head),
                   std::uint64_t{since(ends->made, now >> LB_MADE_SHIFT)} << LB_MADE_SHIFT,
                   static_cast<std::uint32_t>(std::max(0, lb_idle(head, now)))});
        }
}

Connections::Count Connections::count(std::uint64_t now) const
{
    Count count;
    for_each(now, [&](const Connection& connection) { ++(connection.kept ? count.kept : count.others); });
    return count;
}

} // namespace evnf::lb
