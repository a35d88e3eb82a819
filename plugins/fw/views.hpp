// SPDX-License-Identifier: MIT
/// What fw answers about its live rules, connections and limits. README.md says what it means.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <evnf/metrics.hpp>
#include <vector>

#include "live.hpp"

namespace evnf::fw {

/// The clock of the fast path.
struct Now {
    std::uint64_t jiffies;
    unsigned per_second;
};

boost::json::array show_rules(const Live& live, const Now& now);
/// Packets and bytes of the first 256 rules by name, and of those behind them in one.
std::vector<MetricFamily> rule_metrics(const Live& live);
boost::json::array show_unused(Live& live);
boost::json::array show_connections(const Live& live, const std::vector<std::string>& words, const Now& now);
boost::json::object show_tracking(const Live& live);

/// The rules that can never decide; found when first asked.
const std::vector<Unreachable>& unreachable(Live& live);

} // namespace evnf::fw
