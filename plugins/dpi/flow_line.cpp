// SPDX-License-Identifier: MIT
#include "flow_line.hpp"

#include <arpa/inet.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <evnf/address.hpp>

#include "names.hpp"
#include "report.hpp"

namespace evnf::dpi {

namespace {

namespace json = boost::json;
using std::chrono::system_clock;

std::string time_text(system_clock::time_point time)
{
    const auto second = std::chrono::floor<std::chrono::seconds>(time);
    const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(time - second);
    return fmt::format("{:%FT%T}.{:03}Z", fmt::gmtime(system_clock::to_time_t(second)), rest.count());
}

/// What strangers sent as a name may be any bytes, which JSON may not.
std::string printable(std::string text)
{
    std::replace_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return text;
}

json::object object(const FlowRecord& record)
{
    const auto& key = record.key;
    const unsigned from = record.initiator & 1, to = from ^ 1;
    json::object line{
        {"type", "flow"},
        {"start", time_text(record.start)},
        {"end", time_text(record.end)},
        {"proto", protocol_name(key.protocol)},
        {"src", Address::from(key.address[from]).text()},
        {"sport", ntohs(key.port[from])},
        {"dst", Address::from(key.address[to]).text()},
        {"dport", ntohs(key.port[to])},
        {"app", record.label.app},
        {"category", record.label.category},
        {"confidence", confidence_name(record.label.confidence)},
        {"state", state_name(record.state)},
        {"packets", record.out.packets + record.back.packets},
        {"bytes", record.out.bytes + record.back.bytes},
        {"packets_out", record.out.packets},
        {"packets_back", record.back.packets},
        {"bytes_out", record.out.bytes},
        {"bytes_back", record.back.bytes},
        {"reason", flow_end_name(record.ended)},
        {"gap", record.gap},
    };
    if (key.vlan[0] != EVNF_NO_VLAN) line["vlan"] = key.vlan[0];
    if (key.vlan[1] != EVNF_NO_VLAN) line["inner_vlan"] = key.vlan[1];
    if (!record.policy.empty()) line["policy"] = record.policy;
    if (!record.label.sni.empty()) line["sni"] = printable(record.label.sni);
    if (!record.label.ja3_client.empty()) line["ja3_client"] = record.label.ja3_client;
    if (!record.label.ja3_server.empty()) line["ja3_server"] = record.label.ja3_server;
    if (const auto risks = risk_names(record.label.risk); !risks.empty()) line["risks"] = json::array(risks.begin(), risks.end());
    return line;
}

json::object object(const FlowAggregate& aggregate)
{
    json::object line{
        {"type", "aggregate"},         {"time", time_text(aggregate.time)},  {"reason", aggregate.reason},
        {"flows", aggregate.flows},    {"packets", aggregate.packets},       {"bytes", aggregate.bytes},
    };
    if (!aggregate.app.empty()) line["app"] = aggregate.app;
    return line;
}

} // namespace

std::string_view flow_end_name(FlowEnd end)
{
    switch (end) {
    case FlowEnd::idle: return "idle";
    case FlowEnd::fin: return "fin";
    case FlowEnd::rst: return "rst";
    case FlowEnd::reopened: return "reopened";
    }
    return "?";
}

std::string flow_line(const FlowLogEntry& entry)
{
    return std::visit([](const auto& of) { return json::serialize(object(of)) + '\n'; }, entry);
}

} // namespace evnf::dpi
