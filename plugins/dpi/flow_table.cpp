// SPDX-License-Identifier: MIT
#include "flow_table.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dpi_control_bpf.skel.h"

namespace evnf::dpi {

namespace {

std::string text(const char (&field)[DPI_NAME_SIZE])
{
    return {field, strnlen(field, sizeof field)};
}

void set(char (&field)[DPI_NAME_SIZE], const std::string& value)
{
    value.copy(field, sizeof field - 1);
}

/// Opens the control program over the maps of the fast path, and loads it.
dpi_control_bpf* load_control(const MapRef& flows, const MapRef& totals)
{
    auto* control = dpi_control_bpf::open();
    if (!control) throw_errno(errno, "cannot open dpi_control");
    int error = 0;
    for (const auto& [map, ref] : {std::pair{control->maps.dpi_flows, &flows}, {control->maps.dpi_totals, &totals}}) {
        if (!error) error = bpf_map__set_pin_path(map, nullptr); // pinned by the daemon already
        if (!error) error = bpf_map__reuse_fd(map, ref->fd());
    }
    if (!error) error = dpi_control_bpf::load(control);
    if (error) {
        dpi_control_bpf::destroy(control);
        throw_errno(-error, "cannot load dpi_control");
    }
    return control;
}

} // namespace

Apps::Apps(MapRef map) : map_{std::move(map)}
{
    const Label unknown;
    remember(unknown.app, unknown.category);
    learn();
}

void Apps::learn()
{
    while (names_.size() < DPI_MAX_APPS) {
        const auto app = map_.find<dpi_app>(static_cast<std::uint32_t>(names_.size()));
        if (!app || !app->name[0]) return;
        remember(text(app->name), text(app->category));
    }
}

void Apps::remember(const std::string& name, const std::string& category)
{
    numbers_.emplace(std::pair{name, category}, static_cast<std::uint32_t>(names_.size()));
    names_.emplace_back(name, category);
}

std::uint32_t Apps::number(const Label& label)
{
    if (!label.known()) return 0;
    const std::pair name{label.app, label.category};
    if (!numbers_.contains(name)) learn();
    if (const auto found = numbers_.find(name); found != numbers_.end()) return found->second;
    if (names_.size() == DPI_MAX_APPS) return 0;
    const auto number = static_cast<std::uint32_t>(names_.size());
    dpi_app app{};
    set(app.name, label.app);
    set(app.category, label.category);
    map_.update(number, app);
    remember(label.app, label.category);
    return number;
}

std::pair<std::string, std::string> Apps::name(std::uint32_t number)
{
    if (number >= names_.size()) learn();
    return names_.at(number < names_.size() ? number : 0);
}

FlowTable::FlowTable(const Maps& maps)
    : flows_{maps.get("dpi_flows")},
      totals_{maps.get("dpi_totals")},
      faults_{maps.get("dpi_faults")},
      apps_{maps.get("dpi_apps")},
      control_{load_control(flows_, totals_)}
{
}

FlowTable::~FlowTable()
{
    dpi_control_bpf::destroy(control_);
}

dpi_answer FlowTable::run(dpi_command command) const
{
    LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &command, .ctx_size_in = sizeof command);
    if (const int error = bpf_prog_test_run_opts(bpf_program__fd(control_->progs.dpi_control), &options))
        throw_errno(-error, "cannot run dpi_control");
    return static_cast<dpi_answer>(options.retval);
}

std::uint64_t FlowTable::verdict(std::uint64_t id, const Label& label, std::uint32_t state)
{
    const std::lock_guard lock{mutex_};
    return dpi_verdict(id, apps_.number(label), label.confidence, state);
}

bool FlowTable::classify(const Verdict& conclusion)
{
    dpi_command command{};
    command.key = conclusion.key;
    command.operation = DPI_CLASSIFY;
    command.verdict = verdict(conclusion.id, conclusion.label, conclusion.state);
    return run(command) == DPI_DONE;
}

bool FlowTable::close(const dpi_key& key, const dpi_flow& flow, const Label& label)
{
    dpi_command command{};
    command.key = key;
    command.operation = DPI_CLOSE;
    command.verdict = verdict(dpi_verdict_id(flow.verdict), label, DPI_CLASSIFIED);
    command.last_seen = flow.last_seen;
    return run(command) == DPI_DONE;
}

Label FlowTable::label(const dpi_flow& flow) const
{
    const std::lock_guard lock{mutex_};
    Label label;
    std::tie(label.app, label.category) = apps_.name(dpi_verdict_app(flow.verdict));
    label.confidence = static_cast<dpi_confidence>(dpi_verdict_confidence(flow.verdict));
    return label;
}

bool FlowTable::is_alive(const dpi_key& key, std::uint64_t id) const
{
    const auto flow = flows_.find<dpi_flow>(key);
    return flow && dpi_verdict_id(flow->verdict) == id;
}

std::map<std::string, AppTotals> FlowTable::ended() const
{
    const std::lock_guard lock{mutex_};
    std::map<std::string, AppTotals> all;
    for (std::uint32_t i = 0; i < apps_.size(); ++i) {
        const auto totals = totals_.find<dpi_totals>(i);
        if (!totals || !totals->flows) continue;
        auto& app = all[apps_.name(i).first];
        app.flows += totals->flows;
        app.packets += totals->packets;
        app.bytes += totals->bytes;
    }
    return all;
}

dpi_faults FlowTable::faults() const
{
    dpi_faults sum{};
    for (const auto& cpu : faults_.find_per_cpu<dpi_faults>(std::uint32_t{0})) {
        sum.untracked_packets += cpu.untracked_packets;
        sum.lost_copies += cpu.lost_copies;
    }
    return sum;
}

bool FlowTable::Walk::turn(const FlowTable& table, std::uint32_t count, const Visit& visit)
{
    // A batch must hold the largest bucket of the hash; the kernel says ENOSPC when it does not.
    for (;; count *= 2) {
        std::vector<dpi_key> keys(count);
        std::vector<dpi_flow> flows(count);
        std::vector<std::byte> next(sizeof(dpi_key));
        __u32 got = count;
        const int error = bpf_map_lookup_batch(table.flows_.fd(), cursor_.empty() ? nullptr : cursor_.data(), next.data(),
                                               keys.data(), flows.data(), &got, nullptr);
        if (error == -ENOSPC) continue;
        if (error && error != -ENOENT) throw_errno(-error, "cannot walk map dpi_flows");
        cursor_ = error ? std::vector<std::byte>{} : std::move(next);
        for (__u32 i = 0; i < got; ++i) visit(keys[i], flows[i]);
        return error == -ENOENT;
    }
}

} // namespace evnf::dpi
