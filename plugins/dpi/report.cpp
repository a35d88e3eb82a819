// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "names.hpp"

namespace evnf::dpi {

namespace {

namespace json = boost::json;

Knowledge knowledge(const FlowTable& table, const Inspector& inspector, const dpi_flow& flow)
{
    const auto state = static_cast<dpi_state>(dpi_verdict_state(flow.verdict));
    if (state < DPI_CLASSIFIED && !dpi_verdict_app(flow.verdict)) return inspector.describe(flow.key, flow);
    Knowledge known{state, table.label(flow)};
    if (auto details = inspector.find(dpi_verdict_id(flow.verdict))) known.label.sni = std::move(details->label.sni);
    return known;
}

json::object report_flow(const dpi_flow& flow, dpi_head head, const Knowledge& known)
{
    const auto& key = flow.key;
    const unsigned from = flow.initiator & 1, to = from ^ 1;
    json::object object{
        {"proto", protocol_name(key.protocol)},
        {"src", Address::from(key.address[from]).text()},
        {"sport", ntohs(key.port[from])},
        {"dst", Address::from(key.address[to]).text()},
        {"dport", ntohs(key.port[to])},
        {"app", known.label.app},
        {"category", known.label.category},
        {"confidence", confidence_name(known.label.confidence)},
        {"state", state_name(known.state)},
        {"offloaded", (head & DPI_OFFLOADED) != 0},
        {"packets", flow.packets[0] + flow.packets[1]},
        {"bytes", flow.bytes[0] + flow.bytes[1]},
        {"packets_out", flow.packets[from]},
        {"packets_back", flow.packets[to]},
        {"copies", flow.copies},
        {"gap", (flow.flags & DPI_FLOW_GAP) != 0},
        {"ended", (head & DPI_ENDED) != 0},
    };
    if (key.vlan[0] != EVNF_NO_VLAN) object["vlan"] = key.vlan[0];
    if (key.vlan[1] != EVNF_NO_VLAN) object["inner_vlan"] = key.vlan[1];
    object["sni"] = known.label.sni.empty() ? json::value() : json::value(known.label.sni);
    return object;
}

/// What fits a line.
json::object in_brief(const json::object& flow)
{
    json::object brief;
    for (const auto* key : {"proto", "src", "sport", "dst", "dport", "app", "state", "packets", "bytes", "sni"}) brief[key] = flow.at(key);
    return brief;
}

/// Flows that are alive and flows that have ended, by what `name` makes of application and category.
json::array report_totals(const FlowTable& table, const Inspector& inspector, const char* key,
                          const std::function<std::string(const std::string& app, const std::string& category)>& name)
{
    std::map<std::string, AppTotals> sums;
    for (const auto& [app, ended] : table.apps().ended()) sums[name(app.first, app.second)] += ended;
    table.for_each([&](const dpi_flow& flow, dpi_head) {
        const auto label = knowledge(table, inspector, flow).label;
        sums[name(label.app, label.category)] += {1, flow.packets[0] + flow.packets[1], flow.bytes[0] + flow.bytes[1]};
    });
    json::array rows;
    for (const auto& [text, sum] : sums)
        rows.push_back(json::object{{key, text}, {"flows", sum.flows}, {"packets", sum.packets}, {"bytes", sum.bytes}});
    return rows;
}

} // namespace

std::string_view state_name(dpi_state state)
{
    switch (state) {
    case DPI_INSPECTING: return "inspecting";
    case DPI_CLASSIFIED: return "classified";
    case DPI_GAVE_UP: return "gave_up";
    default: return "new";
    }
}

json::array report_flows(const FlowTable& table, const Inspector& inspector)
{
    json::array flows;
    table.for_each([&](const dpi_flow& flow, dpi_head head) {
        flows.push_back(report_flow(flow, head, knowledge(table, inspector, flow)));
    });
    return flows;
}

json::array report_top(const FlowTable& table, const Inspector& inspector, std::size_t count)
{
    std::vector<std::pair<dpi_flow, dpi_head>> most;
    const auto has_more = [](const auto& a, const auto& b) {
        return a.first.bytes[0] + a.first.bytes[1] > b.first.bytes[0] + b.first.bytes[1];
    };
    table.for_each([&](const dpi_flow& flow, dpi_head head) {
        if (head & DPI_ENDED) return;
        most.emplace_back(flow, head);
        std::ranges::push_heap(most, has_more);
        if (most.size() <= count) return;
        std::ranges::pop_heap(most, has_more);
        most.pop_back();
    });
    std::ranges::sort_heap(most, has_more);
    json::array flows;
    for (const auto& [flow, head] : most) flows.push_back(in_brief(report_flow(flow, head, knowledge(table, inspector, flow))));
    return flows;
}

json::array report_apps(const FlowTable& table, const Inspector& inspector)
{
    return report_totals(table, inspector, "app", [](const auto& app, const auto&) { return app; });
}

json::array report_categories(const FlowTable& table, const Inspector& inspector)
{
    return report_totals(table, inspector, "category", [](const auto&, const auto& category) { return category; });
}

json::array report_policies(const Policies& policies)
{
    json::array rows;
    for (const auto& [text, count] : policies.counts())
        rows.push_back(json::object{{"policy", text}, {"packets", count.packets}, {"bytes", count.bytes}});
    return rows;
}

json::object report_status(const FlowTable& table, const Inspector& inspector, std::uint32_t max_flows)
{
    std::uint64_t flows = 0, offloaded = 0, packets = 0;
    table.for_each([&](const dpi_flow& flow, dpi_head head) {
        flows += !(head & DPI_ENDED);
        offloaded += (head & DPI_OFFLOADED) != 0;
        packets += flow.packets[0] + flow.packets[1];
    });
    AppTotals ended;
    for (const auto& [app, totals] : table.apps().ended()) ended += totals;
    const auto faults = table.faults();
    const auto tally = table.tally();
    return {{"flows", flows},
            {"max_flows", max_flows},
            {"offloaded_flows", offloaded},
            {"ended_flows", ended.flows},
            {"evicted_flows", faults.evicted_flows},
            {"packets", packets},
            {"ended_packets", ended.packets},
            {"evicted_packets", faults.evicted_packets},
            {"untracked_packets", faults.untracked_packets},
            {"inspected_flows", inspector.flows()},
            {"inspections", inspector.inspections()},
            {"lost_copies", faults.lost_copies},
            {"stale_verdicts", tally.stale_verdicts},
            {"fresh_budgets", tally.fresh_budgets}};
}

} // namespace evnf::dpi
