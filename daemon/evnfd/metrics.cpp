// SPDX-License-Identifier: MIT
#include "metrics.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace evnf {

namespace json = boost::json;

namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

double number(const json::object& row, std::string_view key)
{
    const auto* value = row.if_contains(key);
    return value && value->is_number() ? value->to_number<double>() : 0;
}

std::string text(const json::object& row, std::string_view key)
{
    return json::value_to<std::string>(row.at(key));
}

MetricFamily single(std::string name, std::string help, MetricType type, double value, Labels labels = {})
{
    return {std::move(name), std::move(help), type, {{std::move(labels), value}}};
}

/// One sample for each row: its labels are the row's texts of those names.
MetricFamily of_rows(std::string name, std::string help, const json::object& from, std::string_view rows,
                     const std::vector<std::pair<std::string, std::string>>& labels, std::string_view value,
                     MetricType type = MetricType::counter)
{
    MetricFamily family{std::move(name), std::move(help), type, {}};
    for (const auto& row : from.at(rows).as_array()) {
        MetricSample sample{{}, number(row.as_object(), value)};
        for (const auto& [label, key] : labels) sample.labels.emplace_back(label, text(row.as_object(), key));
        family.samples.push_back(std::move(sample));
    }
    return family;
}

MetricFamily port_verdicts(const json::object& stats)
{
    MetricFamily family{"evnf_port_verdicts_total", "Packets that arrived at the port, by what became of them.", MetricType::counter, {}};
    for (const auto& port : stats.at("ports").as_array())
        for (const auto* verdict : {"forward", "drop", "kernel", "local", "reply"})
            family.samples.push_back({{{"port", text(port.as_object(), "name")}, {"verdict", verdict}}, number(port.as_object(), verdict)});
    return family;
}

MetricFamily ports_up(const json::object& status)
{
    MetricFamily family{"evnf_port_up", "Whether the port's interface is up.", MetricType::gauge, {}};
    for (const auto& port : status.at("ports").as_array())
        family.samples.push_back({{{"port", text(port.as_object(), "name")}}, port.at("up").as_bool() ? 1. : 0.});
    return family;
}

MetricFamily plugins_ok(const json::object& status)
{
    MetricFamily family{"evnf_plugin_ok", "Whether the plugin works in full: 0 is degraded.", MetricType::gauge, {}};
    for (const auto& plugin : status.at("plugins").as_array())
        family.samples.push_back({{{"plugin", text(plugin.as_object(), "name")}}, plugin.at("state") == "ok" ? 1. : 0.});
    return family;
}

MetricFamily reloads(const json::object& counts)
{
    MetricFamily family{"evnf_reloads_total", "Reloads since the start, by what became of them.", MetricType::counter, {}};
    for (const auto* result : {"applied", "refused"}) family.samples.push_back({{{"result", result}}, number(counts, result)});
    return family;
}

/// Without a sample where the kernel cannot tell.
MetricFamily redirect_errors(const json::value& count)
{
    MetricFamily family{"evnf_redirect_errors_total", "Packets that the kernel did not send after eVNF had forwarded them.", MetricType::counter, {}};
    if (count.is_number()) family.samples.push_back({{}, count.to_number<double>()});
    return family;
}

/// A module's name may have what a metric's name may not.
std::string in_metric_name(std::string name)
{
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}

/// The fields of /proc/self/stat behind the command's name, which may have blanks and parentheses: the first is number 3.
std::vector<double> process_stat()
{
    std::ifstream file{"/proc/self/stat"};
    std::string line;
    std::getline(file, line);
    std::istringstream rest{line.substr(line.rfind(')') + 1)};
    std::string state;
    rest >> state;
    std::vector<double> fields(52);
    for (std::size_t i = 4; i < fields.size() && rest >> fields[i];) ++i;
    return fields;
}

double boot_time()
{
    std::ifstream file{"/proc/stat"};
    std::string word;
    double seconds = 0;
    while (file >> word && word != "btime") {}
    file >> seconds;
    return seconds;
}

} // namespace

std::vector<MetricFamily> framework_metrics(const json::object& status, const json::object& stats)
{
    using enum MetricType;
    const Labels by_stage{{"stage", "stage"}, {"reason", "reason"}};
    const auto& loop = status.at("loop").as_object();
    return {
        single("evnf_build_info", "1; the label says what runs.", gauge, 1, {{"version", text(status, "version")}}),
        single("evnf_generation", "Number of the generation that carries traffic.", gauge, number(status, "generation")),
        reloads(status.at("reloads").as_object()),
        ports_up(status),
        plugins_ok(status),
        of_rows("evnf_plugin_failures", "What a plugin's slow path threw, since the last reload.", status, "plugins", {{"plugin", "name"}}, "failures", gauge),
        single("evnf_loop_stalls_total", "How often the control loop stood still for 2 seconds.", counter, number(loop, "stalls")),
        of_rows("evnf_port_packets_total", "Packets that arrived at the port.", stats, "ports", {{"port", "name"}}, "packets"),
        of_rows("evnf_port_bytes_total", "Bytes that arrived at the port, frames without checksum.", stats, "ports", {{"port", "name"}}, "bytes"),
        port_verdicts(stats),
        of_rows("evnf_stage_packets_total", "Packets that the stage saw.", stats, "stages", {{"stage", "name"}}, "packets"),
        of_rows("evnf_drops_total", "Packets that the stage dropped, by reason.", stats, "drops", by_stage, "packets"),
        of_rows("evnf_kernel_total", "Packets that the stage left to the kernel, by reason.", stats, "kernel", by_stage, "packets"),
        single("evnf_missed_tail_calls_total", "Packets that found a stage of their chain missing.", counter, number(stats, "missed_tail_calls")),
        single("evnf_lost_events_total", "Records for slow paths that found no room.", counter, number(stats, "lost_events")),
        redirect_errors(stats.at("redirect_errors")),
    };
}

std::vector<MetricFamily> process_metrics()
{
    using enum MetricType;
    const auto stat = process_stat();
    const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK)), page = static_cast<double>(sysconf(_SC_PAGESIZE));
    const auto files = std::distance(std::filesystem::directory_iterator{"/proc/self/fd"}, {});
    return {
        single("process_cpu_seconds_total", "User and system CPU time spent, in seconds.", counter, (stat[14] + stat[15]) / ticks),
        single("process_start_time_seconds", "Start time of the process since the Unix epoch, in seconds.", gauge, boot_time() + stat[22] / ticks),
        single("process_virtual_memory_bytes", "Virtual memory size, in bytes.", gauge, stat[23]),
        single("process_resident_memory_bytes", "Resident memory size, in bytes.", gauge, stat[24] * page),
        single("process_threads", "Threads of the process.", gauge, stat[20]),
        single("process_open_fds", "Open file descriptors.", gauge, static_cast<double>(files)),
    };
}

std::vector<MetricFamily> plugin_metrics(const Dataplane& dataplane)
{
    std::vector<MetricFamily> all;
    MetricFamily success{"evnf_plugin_scrape_success", "Whether the plugin told its numbers.", MetricType::gauge, {}};
    for (const auto& [name, instance] : dataplane.instances()) {
        std::vector<MetricFamily> families;
        bool told = true;
        try {
            families = instance->metrics();
        } catch (const std::exception&) { // the reason is in the log
            told = false;
        }
        success.samples.push_back({{{"plugin", name}}, told ? 1. : 0.});
        for (auto& family : families) {
            family.name = fmt::format("evnf_{}_{}", in_metric_name(instance->module()), family.name);
            for (auto& sample : family.samples) sample.labels.insert(sample.labels.begin(), {"plugin", name});
            all.push_back(std::move(family));
        }
    }
    all.push_back(std::move(success));
    return all;
}

} // namespace evnf
