// SPDX-License-Identifier: MIT
#include "log.hpp"

#include <netinet/in.h>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <evnf/address.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <ctime>
#include <optional>
#include <stdexcept>

#include "protocols.hpp"
#include "rules.hpp"

namespace evnf::fw {

namespace {

namespace json = boost::json;

std::optional<std::uint64_t> whole_number(const std::string& text)
{
    std::uint64_t value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

/// 2026-11-27T09:01:02.123+01:00, local time as journals have it.
std::string text_of(PacketLog::Moment moment)
{
    const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(moment.time_since_epoch()).count();
    const std::time_t seconds = milliseconds / 1000;
    std::tm local{};
    localtime_r(&seconds, &local);
    const auto offset = local.tm_gmtoff / 60;
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}{}{:02}:{:02}", local, milliseconds % 1000, offset < 0 ? '-' : '+', std::abs(offset) / 60,
                       std::abs(offset) % 60);
}

std::string verdict_of(const fw_log_record& record)
{
    switch (record.verdict) {
        case EVNF_NEXT: return "next";
        case EVNF_KERNEL: return "kernel";
        case EVNF_REPLY: return "reply";
        default: return "drop";
    }
}

std::string reason_of(const fw_log_record& record)
{
#define EVNF_REASON_NAME(name, json, text) json,
    static constexpr std::array names{EVNF_REASONS(EVNF_REASON_NAME)};
#undef EVNF_REASON_NAME
    return record.reason < names.size() ? names[record.reason] : names[0];
}

std::string hex(const fw_log_record& record)
{
    std::string text;
    for (std::size_t i = 0; i < std::min<std::size_t>(record.captured, FW_LOG_FRAME); ++i) text += fmt::format("{:02x}", record.frame[i]);
    return text;
}

bool has_l4(const fw_log_record& record)
{
    return record.fragment != EVNF_FRAGMENT_LATER;
}

void show_l4(const fw_log_record& record, json::object& row)
{
    if (!has_l4(record)) return;
    if (record.protocol == IPPROTO_TCP) row["tcp_flags"] = record.tcp_flags;
    if (record.protocol == (record.ip_version == 4 ? +IPPROTO_ICMP : +IPPROTO_ICMPV6)) {
        row["icmp_type"] = record.icmp_type;
        row["icmp_code"] = record.icmp_code;
    }
}

json::value port_of(const fw_log_record& record, __be16 port)
{
    return has_ports(record.protocol) && has_l4(record) ? json::value(ntohs(port)) : json::value(nullptr);
}

} // namespace

void PacketLog::add(std::span<const std::byte> bytes, std::uint64_t jiffies, unsigned jiffies_per_second, const Names& names)
{
    if (bytes.size() < sizeof(fw_log_record)) return;
    Entry entry;
    std::memcpy(&entry.record, bytes.data(), sizeof entry.record);
    const std::chrono::duration<double> ago{static_cast<double>(static_cast<std::int64_t>(jiffies - entry.record.now)) / jiffies_per_second};
    entry.moment = std::chrono::system_clock::now() - std::chrono::duration_cast<std::chrono::system_clock::duration>(ago);
    entry.rule = names.rule(entry.record.slot);
    entry.port = names.port(entry.record.port);
    kept_.push_back(std::move(entry));
    if (kept_.size() <= kKept) return;
    kept_.pop_front();
    ++first_;
}

json::object PacketLog::show(const Entry& entry, bool details)
{
    const auto& record = entry.record;
    json::object row{{"time", text_of(entry.moment)},
                     {"rule", entry.rule},
                     {"action", action_name(static_cast<fw_action>(record.action))},
                     {"verdict", verdict_of(record)},
                     {"port", entry.port},
                     {"proto", protocol_text(record.protocol)},
                     {"src", Address::from(record.src).text()},
                     {"sport", port_of(record, record.sport)},
                     {"dst", Address::from(record.dst).text()},
                     {"dport", port_of(record, record.dport)},
                     {"length", record.length}};
    if (!details) return row;
    row["reason"] = reason_of(record);
    if (record.vlan[0] != EVNF_NO_VLAN) row["vlan"] = record.vlan[0];
    if (record.vlan[1] != EVNF_NO_VLAN) row["inner_vlan"] = record.vlan[1];
    show_l4(record, row);
    row["frame"] = hex(record);
    return row;
}

json::array PacketLog::show_from(std::size_t index, bool details) const
{
    json::array rows;
    for (; index < kept_.size(); ++index) rows.push_back(show(kept_[index], details));
    return rows;
}

/// A cursor from before a restart of the daemon is none.
json::object PacketLog::since(std::uint64_t cursor, bool details) const
{
    if (cursor > end()) cursor = 0;
    const auto from = std::max(cursor, first_);
    return {{"cursor", end()}, {"missed", from - cursor}, {"rows", show_from(static_cast<std::size_t>(from - first_), details)}};
}

json::value PacketLog::answer(const std::vector<std::string>& args) const
{
    bool details = false, follows = false;
    std::size_t count = kShown;
    std::optional<std::uint64_t> cursor;
    for (std::size_t i = 0; i < args.size(); ++i) {
        const auto next = [&] { return i + 1 < args.size() ? whole_number(args[i + 1]) : std::nullopt; };
        if (args[i] == "details")
            details = true;
        else if (args[i] == "-n" && next())
            count = *next(), ++i;
        else if (args[i] == "since") {
            follows = true;
            if ((cursor = next())) ++i;
        } else
            throw std::invalid_argument{fmt::format("log takes details, -n COUNT and since CURSOR, not '{}'", args[i])};
    }
    const auto latest = kept_.size() - std::min(count, kept_.size());
    if (!follows) return show_from(latest, details);
    return since(cursor.value_or(first_ + latest), details);
}

} // namespace evnf::fw
