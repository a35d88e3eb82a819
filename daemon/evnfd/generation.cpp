// SPDX-License-Identifier: MIT
#include "generation.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <random>
#include <stdexcept>

#include "entry_bpf.skel.h"
#include "entry_tc_bpf.skel.h"
#include "forwarder_bpf.skel.h"
#include "forwarder_tc_bpf.skel.h"
#include "handover_bpf.skel.h"
#include "reentry_bpf.skel.h"
#include "resume_bpf.skel.h"

namespace evnf {

namespace {

const char* chain_map(FastPathHook hook)
{
    return hook == FastPathHook::tc ? "evnf_tc_chain" : "evnf_chain";
}

template <class Xdp, class Tc>
std::unique_ptr<FastPath> open_framework(FastPathHook hook)
{
    return open_fast_path<Xdp, Tc>(hook, [](auto&) {});
}

LayoutInputs layout_inputs(const Blueprint& blueprint)
{
    return {.leaves_chain = [&](const auto& instance) { return blueprint.plugins.at(instance).staged->leaves_chain(); },
            .port_index = [&](const auto& port) { return blueprint.ports.slots.at(port); },
            .at_xdp = [](const PortSettings& port) { return port.hook != Hook::tc; },
            .at_tc = [&](const PortSettings& port) { return port.hook == Hook::tc || blueprint.bridged.contains(port.name); }};
}

std::uint64_t random_key()
{
    std::random_device random;
    return std::uint64_t{random()} << 32 | random() | 1;
}

bool is_wire(const Blueprint& blueprint)
{
    return blueprint.settings.mode == ForwardingMode::wire;
}

} // namespace

Generation::Generation(const Blueprint& blueprint, const StateStore& state)
    : number_{blueprint.number}, slot_{blueprint.slot}, layout_{lay_out(blueprint.settings, layout_inputs(blueprint))}, loader_{state}
{
    for (const auto& chain : layout_.chains) {
        if (chain.at_xdp) load_chain(blueprint, chain, FastPathHook::xdp);
        if (chain.at_tc) load_chain(blueprint, chain, FastPathHook::tc);
    }
    load_entries(blueprint);
    if (!blueprint.dry_run) load_handover(blueprint);
    fill_framework(blueprint);
    for (const auto& [name, plugin] : blueprint.plugins)
        if (loader_.has(name)) plugin.staged->fill(*loader_.maps(name));
    if (!blueprint.dry_run) test(blueprint);
}

Generation::~Generation() = default;

evnf_stage_config Generation::stage_config(const Blueprint& blueprint, const Chain& chain, std::uint32_t position) const
{
    evnf_stage_config config{.next_slot = chain.base + position + 1,
                             .last_slot = chain.last(),
                             .wire = is_wire(blueprint),
                             .dry_run = blueprint.dry_run,
                             .resume = EVNF_RESUME_DONE,
                             .tap = chain.tap};
    if (position == chain.stages.size()) {
        config.stage = EVNF_STAGE_FORWARDER;
        return config;
    }
    const auto& reentry = chain.reentries[position];
    const bool plugins_follow = position + 1 < chain.stages.size();
    config.stage = blueprint.plugins.at(chain.stages[position]).stage;
    config.skip_mask = skip_mask(blueprint, chain.stages, position + 1);
    config.orphan_drop = blueprint.plugins.at(chain.stages[position]).orphan == Orphan::drop;
    if (plugins_follow) config.resume = reentry ? slot_ << EVNF_RESUME_SHIFT | *reentry : __u32{EVNF_RESUME_NOTHING};
    return config;
}

/// Bit i: the stage at chain[from + i] may be skipped when it is missing.
std::uint64_t Generation::skip_mask(const Blueprint& blueprint, const std::vector<std::string>& chain, std::size_t from)
{
    std::uint64_t mask = 0;
    for (std::size_t i = from; i < chain.size(); ++i)
        if (blueprint.plugins.at(chain[i]).on_error == OnError::skip) mask |= std::uint64_t{1} << (i - from);
    return mask;
}

/// Loads the chain once for the hook, however many ports have it.
void Generation::load_chain(const Blueprint& blueprint, const Chain& chain, FastPathHook hook)
{
    for (std::uint32_t i = 0; i <= chain.stages.size(); ++i) {
        const auto config = stage_config(blueprint, chain, i);
        const bool is_forwarder = i == chain.stages.size();
        const int program =
            is_forwarder ? loader_.load(open_framework<forwarder_bpf, forwarder_tc_bpf>(hook), kFramework, hook, config)
                         : loader_.load(blueprint.plugins.at(chain.stages[i]).staged->open(hook), chain.stages[i], hook, config);
        framework_map(chain_map(hook)).update(chain.base + i, program);
        if (!is_forwarder) places_[chain.stages[i]].push_back({hook, chain.base + i, config, program});
    }
}

Replacement::Replacement(const Generation& generation, const std::string& instance, Staged& staged, const StateStore& state)
    : instance_{instance}, loader_{state, generation.loader_.maps(kFramework)}, places_{generation.places_.at(instance)}
{
    for (auto& place : places_) place.program = loader_.load(staged.open(place.hook), instance, place.hook, place.config);
    staged.fill(*loader_.maps(instance));
}

void Generation::replace(Replacement replacement)
{
    auto& places = places_.at(replacement.instance_);
    std::size_t done = 0;
    try {
        for (; done < places.size(); ++done) {
            const Place& place = replacement.places_[done];
            framework_map(chain_map(place.hook)).update(place.slot, place.program);
        }
    } catch (...) {
        while (done-- > 0) framework_map(chain_map(places[done].hook)).update(places[done].slot, places[done].program);
        throw;
    }
    places = replacement.places_;
    loader_.take(replacement.loader_, replacement.instance_);
}

void Generation::load_entries(const Blueprint& blueprint)
{
    for (const auto& port : blueprint.settings.ports) {
        const Chain& chain = layout_.of(port.name);
        const evnf_stage_config config{
            .stage = EVNF_STAGE_ENTRY,
            .next_slot = chain.base,
            .last_slot = chain.last(),
            .port = blueprint.ports.slots.at(port.name),
            .skip_mask = skip_mask(blueprint, port.chain, 0),
            .wire = is_wire(blueprint),
            .dry_run = blueprint.dry_run,
            .ordinal = chain.ordinal(port.name),
            .resume = EVNF_RESUME_DONE,
            .tap = chain.tap,
        };
        const auto load = [&](FastPathHook hook) { return loader_.load(open_framework<entry_bpf, entry_tc_bpf>(hook), kFramework, hook, config); };
        if (chain.at_xdp) entries_[port.name].xdp = load(FastPathHook::xdp);
        if (chain.at_tc) entries_[port.name].tc = load(FastPathHook::tc);
    }
}

/// What takes packets through the kernel and back.
void Generation::load_handover(const Blueprint& blueprint)
{
    const evnf_stage_config config{.stage = EVNF_STAGE_ENTRY, .wire = is_wire(blueprint)};
    const auto load = [&](std::unique_ptr<FastPath> program) { return loader_.load(std::move(program), kFramework, FastPathHook::tc, config); };
    handover_ = load(std::make_unique<SkeletonFastPath<handover_bpf>>());
    resume_ = load(std::make_unique<SkeletonFastPath<resume_bpf>>());
    if (layout_.reentries.empty() || slot_ == 0) return;
    reentry_ = load(std::make_unique<SkeletonFastPath<reentry_bpf>>());
    for (std::uint32_t i = 0; i < layout_.reentries.size(); ++i) framework_map("evnf_reentries").update(i, layout_.reentries[i]);
}

void Generation::open_reentry() const
{
    if (can_resume()) framework_map("evnf_generations").update(slot_, reentry_);
}

void Generation::close_reentry() const
{
    if (can_resume()) framework_map("evnf_generations").erase(slot_);
}

bool Generation::others_can_resume() const
{
    for (std::uint32_t slot = 1; slot < EVNF_GENERATIONS; ++slot)
        if (slot != slot_ && framework_map("evnf_generations").find<__u32>(slot)) return true;
    return false;
}

void Generation::close_other_reentries() const
{
    for (std::uint32_t slot = 1; slot < EVNF_GENERATIONS; ++slot)
        if (slot != slot_) framework_map("evnf_generations").erase(slot);
}

std::vector<MapRef> Generation::chains() const
{
    std::vector<MapRef> chains;
    for (const auto hook : {FastPathHook::xdp, FastPathHook::tc})
        if (has_framework_map(chain_map(hook))) chains.push_back(framework_map(chain_map(hook)));
    return chains;
}

MapRef Generation::framework_map(const std::string& name) const
{
    return loader_.maps(kFramework)->get(name);
}

bool Generation::has_framework_map(const std::string& name) const
{
    return loader_.maps(kFramework)->has(name);
}

void Generation::fill_framework(const Blueprint& blueprint)
{
    const auto& slots = blueprint.ports.slots;
    wires_.assign(EVNF_MAX_PORTS, EVNF_NO_PORT);
    for (const auto& [left, right] : blueprint.settings.wires) {
        wires_[slots.at(left)] = static_cast<std::uint16_t>(slots.at(right));
        wires_[slots.at(right)] = static_cast<std::uint16_t>(slots.at(left));
    }
    for (const auto& port : blueprint.settings.ports) {
        const auto link = blueprint.links.find(port.name);
        set_port(slots.at(port.name), link == blueprint.links.end() ? PortLink{} : link->second);
    }
    const MapRef key = framework_map("evnf_handover_key");
    if (key.find<std::uint64_t>(__u32{0}) == 0) key.update(__u32{0}, random_key());
    for (std::uint32_t stage : blueprint.stages.fresh)
        framework_map("evnf_stages").update_per_cpu(stage, evnf_stage_counters{});
    for (std::uint32_t port : blueprint.ports.fresh)
        framework_map("evnf_ports").update_per_cpu(port, evnf_port_counters{});
}

void Generation::set_port(std::uint32_t port, const PortLink& link) const
{
    const auto before = framework_map("evnf_port_configs").find<evnf_port_config>(port);
    evnf_port_config config{.wire = wires_.at(port), .ifindex = link.ifindex};
    std::copy(link.mac.begin(), link.mac.end(), config.mac);
    framework_map("evnf_port_configs").update(port, config);
    if (before && before->ifindex && before->ifindex != link.ifindex) {
        framework_map("evnf_port_by_ifindex").erase(before->ifindex);
        framework_map("evnf_egress").erase(port);
    }
    if (link.ifindex == 0) return;
    framework_map("evnf_egress").update(port, link.ifindex);
    framework_map("evnf_port_by_ifindex").update(link.ifindex, port);
}

void Generation::set_link(std::uint32_t ifindex, evnf_link frames) const
{
    const MapRef links = framework_map("evnf_links");
    if (frames == EVNF_LINK_ETHERNET)
        links.erase(ifindex);
    else
        links.update(ifindex, std::uint32_t{frames});
}

void Generation::keep_links(const std::function<bool(std::uint32_t ifindex)>& is_there) const
{
    const MapRef links = framework_map("evnf_links");
    std::vector<std::uint32_t> gone;
    links.for_each<std::uint32_t, std::uint32_t>([&](std::uint32_t ifindex, std::uint32_t) {
        if (!is_there(ifindex)) gone.push_back(ifindex);
    });
    for (const auto ifindex : gone) links.erase(ifindex);
}

void Generation::set_routing(const evnf_routing& routing) const
{
    framework_map("evnf_routing").update(__u32{0}, routing);
}

void Generation::set_heartbeat(std::uint32_t stage, std::uint64_t deadline) const
{
    framework_map("evnf_heartbeats").update(stage, deadline);
}

/// Sends a probe through every port's chain, at each hook for which it is loaded.
void Generation::test(const Blueprint& blueprint) const
{
    for (const auto& port : blueprint.settings.ports) {
        const Entries& entries = entries_.at(port.name);
        if (entries.xdp >= 0) test(blueprint, port, entries.xdp);
        if (entries.tc >= 0) test(blueprint, port, entries.tc);
    }
}

/// The probe must have seen each stage, and nothing else counts it.
void Generation::test(const Blueprint& blueprint, const PortSettings& port, int entry) const
{
    const PinnedToCpu pinned;
    std::uint32_t expected = 1u << EVNF_STAGE_ENTRY | 1u << EVNF_STAGE_FORWARDER;
    for (const auto& stage : port.chain) expected |= 1u << blueprint.plugins.at(stage).stage;
    std::array<std::uint8_t, 64> frame{};
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = frame.size());
    if (const int error = bpf_prog_test_run_opts(entry, &options))
        throw_errno(-error, fmt::format("self-test of port {}: cannot run its entry", port.name));
    const auto packets = framework_map("evnf_packets").find_per_cpu<evnf_packet>(__u32{0});
    const auto visited = packets.at(static_cast<std::size_t>(pinned.cpu())).visited;
    for (const auto& stage : port.chain)
        if (!(visited & 1u << blueprint.plugins.at(stage).stage))
            throw std::runtime_error{fmt::format("self-test of port {}: the probe did not reach {}", port.name, stage)};
    if (visited != expected)
        throw std::runtime_error{fmt::format("self-test of port {}: the probe did not reach the forwarder", port.name)};
}

PinnedToCpu::PinnedToCpu() : cpu_{sched_getcpu()}
{
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(static_cast<std::size_t>(cpu_), &only);
    if (sched_getaffinity(0, sizeof before_, &before_) != 0 || sched_setaffinity(0, sizeof only, &only) != 0)
        throw_errno(errno, "cannot stay on one CPU");
}

PinnedToCpu::~PinnedToCpu()
{
    sched_setaffinity(0, sizeof before_, &before_);
}

} // namespace evnf
