// SPDX-License-Identifier: MIT
#include "connections.hpp"

#include <endian.h>

#include <algorithm>
#include <boost/json/object.hpp>

#include "protocols.hpp"

namespace evnf::fw {

namespace {

using namespace std::chrono_literals;

/// A half-closed connection may wait this long for its other half: longer than `fin`, since one end may still be
/// sending, and less than `established`, since many never finish.
constexpr std::chrono::milliseconds kHalfClosed = 5min;
/// After a RST nothing should come.
constexpr std::chrono::milliseconds kReset = 10s;

/// From the entry's latest packet to `now`. An entry may be newer than `now`, which was read before.
std::uint32_t idle(const fw_connection& connection, std::uint64_t now)
{
    return static_cast<std::uint32_t>(std::max(0, static_cast<std::int32_t>(static_cast<std::uint32_t>(now) - connection.last_seen)));
}

std::string_view name_of(fw_phase phase, bool answered)
{
    switch (phase) {
        case FW_PHASE_SYN:
            return "syn";
        case FW_PHASE_ESTABLISHED:
            return "established";
        case FW_PHASE_FIN:
            return "fin";
        case FW_PHASE_CLOSED:
        case FW_PHASE_RESET:
            return "closed";
        default:
            return answered ? "established" : "unanswered";
    }
}

boost::json::object show(const fw_connection_key& key, const fw_connection& connection, std::uint64_t now, unsigned hz)
{
    const unsigned from = connection.originator, to = 1 - from;
    const bool answered = connection.said[to] != 0;
    return {{"proto", protocol_text(key.protocol)},
            {"src", Address{key.addresses[from]}.text()},
            {"sport", be16toh(key.ports[from])},
            {"dst", Address{key.addresses[to]}.text()},
            {"dport", be16toh(key.ports[to])},
            {"state", name_of(fw_phase_of(key.protocol, &connection), answered)},
            {"idle_s", idle(connection, now) / hz}};
}

bool has_word(const boost::json::object& row, std::string_view word)
{
    const auto has = [&](const char* key) { return row.at(key).as_string() == word; };
    return has("proto") || has("src") || has("dst") || has("state");
}

} // namespace

Timeouts timeouts_of(const Tracking& tracking, unsigned jiffies_per_second)
{
    const auto jiffies = [&](std::chrono::milliseconds time) { return static_cast<std::uint32_t>(time.count() * jiffies_per_second / 1000); };
    Timeouts timeouts{};
    timeouts[FW_PHASE_SYN] = jiffies(tracking.syn);
    timeouts[FW_PHASE_ESTABLISHED] = jiffies(tracking.established);
    timeouts[FW_PHASE_FIN] = jiffies(std::max(tracking.fin, std::min(kHalfClosed, tracking.established)));
    timeouts[FW_PHASE_CLOSED] = jiffies(tracking.fin);
    timeouts[FW_PHASE_RESET] = jiffies(std::min(tracking.fin, kReset));
    timeouts[FW_PHASE_UDP] = jiffies(tracking.udp);
    timeouts[FW_PHASE_ICMP] = jiffies(tracking.icmp);
    timeouts[FW_PHASE_OTHER] = jiffies(tracking.other);
    return timeouts;
}

bool Connections::is_alive(const fw_connection_key& key, const fw_connection& connection, std::uint64_t now) const
{
    return idle(connection, now) < timeouts_[fw_phase_of(key.protocol, &connection)];
}

bool Connections::expire_some(std::uint64_t now)
{
    return !open_.for_each_part<fw_connection_key, fw_connection>(cursor_, [&](const fw_connection_key& key, const fw_connection& seen) {
        if (is_alive(key, seen, now)) return;
        // What the batch said may be old by now: only a fresh look decides.
        const auto entry = open_.find<fw_connection>(key);
        if (entry && !is_alive(key, *entry, now)) open_.erase(key);
    });
}

boost::json::array Connections::list(const std::vector<std::string>& words, std::uint64_t now, unsigned jiffies_per_second, std::size_t most) const
{
    boost::json::array rows;
    const auto add = [&](const fw_connection_key& key, const fw_connection& connection) {
        if (rows.size() == most || !is_alive(key, connection, now)) return;
        auto row = show(key, connection, now, jiffies_per_second);
        if (std::all_of(words.begin(), words.end(), [&](const auto& word) { return has_word(row, word); })) rows.push_back(std::move(row));
    };
    for (const auto* table : {&open_, &half_open_}) {
        std::vector<std::byte> cursor;
        while (table->for_each_part<fw_connection_key, fw_connection>(cursor, add) && rows.size() < most) {}
    }
    return rows;
}

} // namespace evnf::fw
