// SPDX-License-Identifier: MIT
#include "app_metrics.hpp"

#include <algorithm>

namespace evnf::dpi {

namespace {

constexpr std::size_t kMostApps = 64;

void raise(AppTotals& told, const AppTotals& now)
{
    told.flows = std::max(told.flows, now.flows);
    told.packets = std::max(told.packets, now.packets);
    told.bytes = std::max(told.bytes, now.bytes);
}

MetricFamily family(const char* name, const char* help, const std::map<std::string, AppTotals>& apps, const AppTotals& others,
                    std::uint64_t AppTotals::*value)
{
    MetricFamily all{name, help, MetricType::counter, {}};
    for (const auto& [app, traffic] : apps) all.samples.push_back({{{"app", app}}, static_cast<double>(traffic.*value)});
    all.samples.push_back({{{"app", "other"}}, static_cast<double>(others.*value)});
    return all;
}

} // namespace

/// Series that are free go to those that have most bytes.
void AppMetrics::admit(const std::map<std::string, AppTotals>& totals)
{
    std::vector<std::pair<std::uint64_t, std::string>> waiting;
    for (const auto& [app, traffic] : totals)
        if (!told_.contains(app)) waiting.emplace_back(traffic.bytes, app);
    std::sort(waiting.rbegin(), waiting.rend());
    for (const auto& [bytes, app] : waiting) {
        if (told_.size() == kMostApps) return;
        told_.try_emplace(app);
    }
}

std::vector<MetricFamily> AppMetrics::families(const std::map<std::string, AppTotals>& totals)
{
    admit(totals);
    AppTotals others;
    for (const auto& [app, traffic] : totals) {
        if (const auto own = told_.find(app); own != told_.end()) {
            raise(own->second, traffic);
            continue;
        }
        others.flows += traffic.flows;
        others.packets += traffic.packets;
        others.bytes += traffic.bytes;
    }
    raise(told_others_, others);
    return {family("app_flows_total", "Flows of the application, from its verdict on.", told_, told_others_, &AppTotals::flows),
            family("app_packets_total", "Packets of the application's flows.", told_, told_others_, &AppTotals::packets),
            family("app_bytes_total", "Bytes of the application's flows, IP packets.", told_, told_others_, &AppTotals::bytes)};
}

} // namespace evnf::dpi
