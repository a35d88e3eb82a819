// SPDX-License-Identifier: MIT
#include "inspector_report.hpp"

#include <boost/json/array.hpp>

namespace evnf::dpi {

namespace json = boost::json;

namespace {

std::uint64_t share(std::chrono::nanoseconds time, std::uint64_t count)
{
    return count ? static_cast<std::uint64_t>(time.count()) / count : 0;
}

json::object report(const Effort& effort)
{
    return {{"flows", effort.flows},
            {"packets", effort.packets},
            {"ndpi_ms", std::chrono::duration_cast<std::chrono::milliseconds>(effort.time).count()},
            {"ns_per_packet", share(effort.time, effort.packets)},
            {"ns_per_flow", share(effort.time, effort.flows)}};
}

} // namespace

void report_inspection(const Inspector& inspector, json::object& status)
{
    json::array workers;
    for (const auto& effort : inspector.efforts()) workers.push_back(report(effort));
    status["poisonous_flows"] = inspector.quarantined();
    status["workers"] = std::move(workers);
}

} // namespace evnf::dpi
