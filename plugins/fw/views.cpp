// SPDX-License-Identifier: MIT
#include "views.hpp"

#include <algorithm>

namespace evnf::fw {

namespace {

/// Connections, in one answer.
constexpr std::size_t kMostListed = 10'000;
/// Rules with series of their own in a monitoring system.
constexpr std::size_t kMostMetrics = 256;

fw_counters sum_of(const Live& live, const Listed& rule)
{
    fw_counters sum{};
    for (const auto& cpu : live.maps->get("fw_counters").find_per_cpu<fw_counters>(rule.slot)) {
        sum.packets += cpu.packets;
        sum.bytes += cpu.bytes;
        sum.last = std::max(sum.last, cpu.last);
    }
    return sum;
}

void add_modifiers(const Live& live, const Listed& rule, boost::json::object& row)
{
    fw_modifier_counters sum{};
    for (const auto& cpu : live.maps->get("fw_modifier_counters").find_per_cpu<fw_modifier_counters>(rule.slot)) {
        sum.over_limit += cpu.over_limit;
        sum.limit_table_full += cpu.limit_table_full;
        sum.log_suppressed += cpu.log_suppressed;
    }
    if (rule.limited) row["over_limit"] = sum.over_limit, row["limit_table_full"] = sum.limit_table_full;
    if (rule.logged) row["log_suppressed"] = sum.log_suppressed;
}

boost::json::object counted(const Live& live, const Listed& rule, const Now& now)
{
    const auto sum = sum_of(live, rule);
    boost::json::object row{{"name", rule.name}, {"action", rule.action}, {"packets", sum.packets}, {"bytes", sum.bytes}};
    row["last_hit_s"] = nullptr;
    if (sum.last) row["last_hit_s"] = now.jiffies > sum.last ? (now.jiffies - sum.last) / now.per_second : 0;
    add_modifiers(live, rule, row);
    return row;
}

} // namespace

boost::json::array show_rules(const Live& live, const Now& now)
{
    boost::json::array rules;
    for (const auto& rule : live.rules) rules.push_back(counted(live, rule, now));
    return rules;
}

std::vector<MetricFamily> rule_metrics(const Live& live)
{
    MetricFamily packets{"rule_packets_total", "Packets that the rule decided.", MetricType::counter, {}};
    MetricFamily bytes{"rule_bytes_total", "Bytes of the packets that the rule decided.", MetricType::counter, {}};
    for (std::size_t i = 0; i < live.rules.size(); ++i) {
        const auto& rule = live.rules[i];
        const auto sum = sum_of(live, rule);
        const bool is_named = i < kMostMetrics || rule.name == kDefaultName;
        const std::vector<std::pair<std::string, std::string>> labels{{"rule", is_named ? rule.name : "(others)"}, {"action", is_named ? std::string{rule.action} : ""}};
        packets.samples.push_back({labels, static_cast<double>(sum.packets)});
        bytes.samples.push_back({labels, static_cast<double>(sum.bytes)});
    }
    return {packets, bytes};
}

const std::vector<Unreachable>& unreachable(Live& live)
{
    if (!live.unreachable) live.unreachable = unreachable_rules(live.book);
    return *live.unreachable;
}

boost::json::array show_unused(Live& live)
{
    boost::json::array rules;
    auto next = unreachable(live).begin();
    for (std::size_t i = 0; i < live.book.rules.size(); ++i) {
        const auto& name = live.book.rules[i].rule.name;
        if (next != live.unreachable->end() && next->rule == i) {
            const auto by = (next++)->by;
            rules.push_back(by ? boost::json::object{{"rule", name}, {"why", "covered"}, {"by", live.book.rules[*by].rule.name}}
                               : boost::json::object{{"rule", name}, {"why", "matches no packet"}});
        } else if (sum_of(live, live.rules[i]).packets == 0) {
            rules.push_back(boost::json::object{{"rule", name}, {"why", "never hit"}});
        }
    }
    return rules;
}

boost::json::array show_connections(const Live& live, const std::vector<std::string>& words, const Now& now)
{
    if (!live.connections) return {};
    return live.connections->list(words, now.jiffies, now.per_second, kMostListed);
}

boost::json::object show_tracking(const Live& live)
{
    if (!live.connections) return {};
    fw_connection_counters sum{};
    for (const auto& cpu : live.maps->get("fw_connection_counters").find_per_cpu<fw_connection_counters>(__u32{0})) {
        sum.opened += cpu.opened;
        sum.moved += cpu.moved;
        sum.refused += cpu.refused;
    }
    return {{"max_connections", live.maps->get("fw_connections").info().max_entries},
            {"max_half_open", live.maps->get("fw_half_open").info().max_entries},
            {"opened", sum.opened},
            {"moved", sum.moved},
            {"refused", sum.refused}};
}

} // namespace evnf::fw
