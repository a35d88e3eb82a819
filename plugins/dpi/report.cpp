// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <map>

namespace evnf::dpi {

namespace {

namespace json = boost::json;

std::string protocol_name(std::uint8_t protocol)
{
    switch (protocol) {
    case IPPROTO_TCP: return "tcp";
    case IPPROTO_UDP: return "udp";
    case IPPROTO_ICMP: return "icmp";
    case IPPROTO_ICMPV6: return "icmpv6";
    case IPPROTO_SCTP: return "sctp";
    default: return fmt::format("{}", protocol);
    }
}

std::string_view confidence_name(dpi_confidence confidence)
{
    switch (confidence) {
    case DPI_CONFIDENCE_PORT: return "Match by port";
    case DPI_CONFIDENCE_ADDRESS: return "Match by IP";
    case DPI_CONFIDENCE_DPI_CACHE: return "DPI (cache)";
    case DPI_CONFIDENCE_PARTIAL: return "DPI (partial)";
    case DPI_CONFIDENCE_DPI: return "DPI";
    default: return "Unknown";
    }
}

Knowledge knowledge(const FlowTable& table, const Inspector& inspector, const dpi_key& key, const dpi_flow& flow)
{
    const auto state = static_cast<dpi_state>(dpi_verdict_state(flow.verdict));
    if (state < DPI_CLASSIFIED) return inspector.describe(key, flow);
    Knowledge known{state, table.label(flow)};
    if (auto details = inspector.find(dpi_verdict_id(flow.verdict))) known.label.sni = std::move(details->label.sni);
    return known;
}

json::object report_flow(const dpi_key& key, const dpi_flow& flow, const Knowledge& known, bool offload)
{
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
        {"offloaded", offload && known.state >= DPI_CLASSIFIED},
        {"packets", flow.packets[0] + flow.packets[1]},
        {"bytes", flow.bytes[0] + flow.bytes[1]},
        {"packets_out", flow.packets[from]},
        {"packets_back", flow.packets[to]},
        {"gap", (flow.flags & DPI_FLOW_GAP) != 0},
    };
    if (key.vlan[0] != EVNF_NO_VLAN) object["vlan"] = key.vlan[0];
    if (key.vlan[1] != EVNF_NO_VLAN) object["inner_vlan"] = key.vlan[1];
    object["sni"] = known.label.sni.empty() ? json::value() : json::value(known.label.sni);
    return object;
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

json::array report_flows(const FlowTable& table, const Inspector& inspector, bool offload)
{
    json::array flows;
    table.for_each([&](const dpi_key& key, const dpi_flow& flow) {
        flows.push_back(report_flow(key, flow, knowledge(table, inspector, key, flow), offload));
    });
    return flows;
}

json::array report_apps(const FlowTable& table, const Inspector& inspector)
{
    auto totals = table.ended();
    table.for_each([&](const dpi_key& key, const dpi_flow& flow) {
        auto& app = totals[knowledge(table, inspector, key, flow).label.app];
        app.flows += 1;
        app.packets += flow.packets[0] + flow.packets[1];
        app.bytes += flow.bytes[0] + flow.bytes[1];
    });
    json::array apps;
    for (const auto& [app, sum] : totals)
        apps.push_back(json::object{
            {"app", app}, {"flows", sum.flows}, {"packets", sum.packets}, {"bytes", sum.bytes}});
    return apps;
}

json::object report_status(const FlowTable& table, const Inspector& inspector)
{
    std::uint64_t flows = 0;
    table.for_each([&](const dpi_key&, const dpi_flow&) { ++flows; });
    const auto faults = table.faults();
    return {{"flows", flows},
            {"max_flows", table.capacity()},
            {"inspected_flows", inspector.flows()},
            {"inspections", inspector.inspections()},
            {"untracked_packets", faults.untracked_packets},
            {"lost_copies", faults.lost_copies}};
}

} // namespace evnf::dpi
