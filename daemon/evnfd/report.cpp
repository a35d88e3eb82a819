// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <array>

namespace evnf {

namespace json = boost::json;

namespace {

evnf_port_counters sum(const std::vector<evnf_port_counters>& per_cpu)
{
    evnf_port_counters total{};
    for (const auto& cpu : per_cpu) {
        total.packets += cpu.packets;
        total.bytes += cpu.bytes;
        for (std::size_t i = 0; i < std::size(total.verdicts); ++i) total.verdicts[i] += cpu.verdicts[i];
    }
    return total;
}

evnf_stage_counters sum(const std::vector<evnf_stage_counters>& per_cpu)
{
    evnf_stage_counters total{};
    for (const auto& cpu : per_cpu) {
        total.packets += cpu.packets;
        total.missed += cpu.missed;
        total.lost_events += cpu.lost_events;
        for (std::size_t i = 0; i < EVNF_REASON_MAX; ++i) {
            total.drops[i] += cpu.drops[i];
            total.kernel[i] += cpu.kernel[i];
        }
    }
    return total;
}

json::object port_stats(const Dataplane& dataplane, const std::string& name)
{
    const auto counters = sum(dataplane.generation().framework_map("evnf_ports").find_per_cpu<evnf_port_counters>(dataplane.ports().at(name)));
    json::object port{{"name", name}, {"packets", counters.packets}, {"bytes", counters.bytes}};
    for (const auto verdict : {EVNF_FORWARD, EVNF_DROP, EVNF_KERNEL, EVNF_LOCAL, EVNF_REPLY})
        port[verdict_name(verdict)] = counters.verdicts[verdict];
    port["resumed"] = counters.verdicts[EVNF_COUNT_RESUMED];
    return port;
}

void append_reasons(json::array& rows, const std::string& stage, const __u64 (&counts)[EVNF_REASON_MAX])
{
    for (std::uint32_t reason = 0; reason < EVNF_REASON_COUNT; ++reason)
        if (counts[reason]) rows.push_back(json::object{{"stage", stage}, {"reason", reason_name(reason)}, {"packets", counts[reason]}});
}

/// Entry, plugins, forwarder: the order that a packet meets them.
std::vector<std::uint32_t> stages_in_order(const Dataplane& dataplane)
{
    std::vector<std::uint32_t> stages{EVNF_STAGE_ENTRY};
    for (const auto& plugin : dataplane.settings().plugins)
        if (const auto slot = dataplane.stages().find(plugin.instance); slot >= 0) stages.push_back(static_cast<std::uint32_t>(slot));
    stages.push_back(EVNF_STAGE_FORWARDER);
    return stages;
}

} // namespace

const char* verdict_name(std::uint32_t verdict)
{
    static constexpr std::array names{"next", "drop", "kernel", "local", "reply", "forward"};
    static_assert(names.size() == EVNF_VERDICTS);
    return verdict < names.size() ? names[verdict] : "unknown";
}

const char* reason_name(std::uint32_t reason)
{
    static constexpr std::array names{
#define EVNF_REASON_NAME(name, json, text) json,
        EVNF_REASONS(EVNF_REASON_NAME)
#undef EVNF_REASON_NAME
    };
    return reason < names.size() ? names[reason] : "unknown";
}

json::object status(const Dataplane& dataplane, const std::string& config_file,
                    const std::function<PortStatus(const std::string& port)>& port_status)
{
    json::array ports, plugins;
    for (const auto& port : dataplane.settings().ports) {
        const auto now = port_status(port.name);
        ports.push_back(json::object{{"name", port.name}, {"hook", now.hook}, {"chain", json::value_from(port.chain)}, {"up", now.up}, {"tap", port.tap}});
    }
    for (const auto& [name, instance] : dataplane.instances()) {
        json::object plugin{{"name", name}, {"module", instance->module()}, {"state", "ok"}, {"failures", instance->failures()}};
        if (const auto trouble = instance->trouble(); !trouble.empty()) {
            plugin["state"] = "degraded";
            plugin["trouble"] = trouble;
        }
        plugins.push_back(std::move(plugin));
    }
    return {{"state", "running"},   {"version", EVNF_VERSION}, {"generation", dataplane.generation().number()},
            {"config", config_file}, {"ports", ports},          {"plugins", plugins}};
}

json::object stats(const Dataplane& dataplane, std::optional<std::uint64_t> redirect_errors)
{
    json::array ports, stages, drops, kernel;
    std::uint64_t missed = 0, lost = 0;
    for (const auto& port : dataplane.settings().ports) ports.push_back(port_stats(dataplane, port.name));
    for (const std::uint32_t stage : stages_in_order(dataplane)) {
        const auto counters = sum(dataplane.generation().framework_map("evnf_stages").find_per_cpu<evnf_stage_counters>(stage));
        const auto name = dataplane.stage_name(stage);
        stages.push_back(json::object{{"name", name}, {"packets", counters.packets}});
        append_reasons(drops, name, counters.drops);
        append_reasons(kernel, name, counters.kernel);
        missed += counters.missed;
        lost += counters.lost_events;
    }
    json::object result{{"ports", ports},   {"stages", stages},           {"drops", drops},
                        {"kernel", kernel}, {"missed_tail_calls", missed}, {"lost_events", lost}};
    result["redirect_errors"] = redirect_errors ? json::value(*redirect_errors) : json::value(nullptr);
    return result;
}

} // namespace evnf
