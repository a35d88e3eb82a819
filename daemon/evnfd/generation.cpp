// SPDX-License-Identifier: MIT
#include "generation.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>

#include <cstdarg>
#include <cstring>
#include <stdexcept>

#include "entry_bpf.skel.h"
#include "forwarder_bpf.skel.h"

namespace evnf {

namespace {

/// What libbpf says while a program is loaded: the verifier's log among it. Only its end matters.
thread_local std::string libbpf_messages;

int keep_message(libbpf_print_level level, const char* format, va_list arguments)
{
    constexpr std::size_t kKept = 4096;
    if (level != LIBBPF_WARN) return 0;
    va_list measured;
    va_copy(measured, arguments);
    const int length = vsnprintf(nullptr, 0, format, measured);
    va_end(measured);
    if (length <= 0) return 0;
    std::string text(static_cast<std::size_t>(length) + 1, '\0');
    vsnprintf(text.data(), text.size(), format, arguments);
    text.pop_back();
    libbpf_messages += text;
    if (libbpf_messages.size() > kKept) libbpf_messages.erase(0, libbpf_messages.size() - kKept);
    return 0;
}

[[noreturn]] void throw_load_error(int error, const std::string& what)
{
    throw std::runtime_error{fmt::format("{}: {}\n{}", what, std::strerror(error), libbpf_messages)};
}

bool is_framework_map(std::string_view name)
{
    return name.starts_with("evnf_");
}

bpf_program* only_program(bpf_object* object, const std::string& owner)
{
    bpf_program *program = nullptr, *found = nullptr;
    bpf_object__for_each_program(program, object) {
        if (bpf_program__type(program) != BPF_PROG_TYPE_XDP) continue;
        if (found) throw std::runtime_error{fmt::format("plugin {}: its BPF object has more than one XDP program", owner)};
        found = program;
    }
    if (!found) throw std::runtime_error{fmt::format("plugin {}: its BPF object has no XDP program", owner)};
    return found;
}

void set_config(bpf_object* object, const std::string& owner, const evnf_stage_config& config)
{
    bpf_map* map = bpf_object__find_map_by_name(object, ".rodata.evnf");
    std::size_t size = 0;
    void* value = map ? const_cast<void*>(bpf_map__initial_value(map, &size)) : nullptr;
    if (!value || size != sizeof config)
        throw std::runtime_error{fmt::format("plugin {}: its BPF object was not built against this evnf/stage.bpf.h", owner)};
    std::memcpy(value, &config, sizeof config);
}

MapInfo wanted_info(const bpf_map* map)
{
    return {bpf_map__type(map), bpf_map__key_size(map), bpf_map__value_size(map), bpf_map__max_entries(map),
            bpf_map__map_flags(map)};
}

Fd duplicate(int fd, const std::string& name)
{
    Fd copy{fcntl(fd, F_DUPFD_CLOEXEC, 0)};
    if (!copy) throw_errno(errno, fmt::format("cannot keep map {}", name));
    return copy;
}

} // namespace

/// Maps of one owner in one generation: those it made and those that it took over.
class Generation::OwnedMaps final : public Maps {
public:
    explicit OwnedMaps(std::string owner) : owner_{std::move(owner)} {}

    MapRef get(const std::string& name) const override
    {
        const auto found = fds_.find(name);
        if (found == fds_.end()) throw std::out_of_range{fmt::format("{} has no map {}", owner_, name)};
        return {found->second.get(), name};
    }
    bool has(const std::string& name) const { return fds_.contains(name); }
    void add(const std::string& name, int fd) { fds_.emplace(name, duplicate(fd, name)); }

private:
    std::string owner_;
    std::map<std::string, Fd> fds_;
};

Generation::Generation(const Blueprint& blueprint, const StateStore& state)
    : number_{blueprint.number}
{
    libbpf_set_print(keep_message);
    libbpf_messages.clear();
    load_entries(blueprint, load_chains(blueprint, state), state);
    fill_framework(blueprint);
    for (const auto& [name, plugin] : blueprint.plugins)
        if (maps_.contains(name)) plugin.staged->fill(*maps_.at(name));
    if (!blueprint.dry_run) test(blueprint);
}

Generation::~Generation() = default;

Generation::OwnedMaps& Generation::maps_of(const std::string& owner)
{
    auto& maps = maps_[owner];
    if (!maps) maps = std::make_shared<OwnedMaps>(owner);
    return *maps;
}

std::shared_ptr<const Maps> Generation::maps(const std::string& owner) const
{
    const auto found = maps_.find(owner);
    if (found == maps_.end()) throw std::out_of_range{fmt::format("{} is in no chain", owner)};
    return found->second;
}

/// Gives the object's maps what is there already: of this generation, or state of earlier ones.
void Generation::share_maps(bpf_object* object, const std::string& owner, const StateStore& state)
{
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object)
    {
        if (bpf_map__is_internal(map)) continue;
        const std::string name = bpf_map__name(map);
        const std::string holder = is_framework_map(name) ? kFramework : owner;
        const bool is_state = bpf_map__pin_path(map) != nullptr;
        bpf_map__set_pin_path(map, nullptr); // the StateStore pins, when the generation goes live
        int error = 0;
        if (maps_of(holder).has(name)) {
            error = bpf_map__reuse_fd(map, maps_of(holder).get(name).fd());
        } else if (is_state) {
            const Fd* kept = state.fitting(holder, name, wanted_info(map));
            if (kept)
                error = bpf_map__reuse_fd(map, kept->get());
            else
                made_.push_back({holder, name, Fd{}}); // its descriptor comes with loading
        }
        if (error) throw_errno(-error, fmt::format("{}: cannot reuse map {}", owner, name));
    }
}

void Generation::remember_maps(bpf_object* object, const std::string& owner)
{
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object)
    {
        if (bpf_map__is_internal(map)) continue;
        const std::string name = bpf_map__name(map);
        auto& maps = maps_of(is_framework_map(name) ? kFramework : owner);
        if (!maps.has(name)) maps.add(name, bpf_map__fd(map));
    }
    for (auto& made : made_)
        if (!made.fd) made.fd = duplicate(maps_of(made.owner).get(made.name).fd(), made.name);
}

/// Loads one copy of an object for one place in a chain; the program's descriptor stays the object's.
int Generation::load(std::unique_ptr<FastPath> copy, const std::string& owner, const evnf_stage_config& config,
                     const StateStore& state)
{
    bpf_object* object = copy->object();
    maps_of(owner); // a plugin may have none of its own
    bpf_program* program = only_program(object, owner);
    set_config(object, owner, config);
    share_maps(object, owner, state);
    if (const int error = bpf_object__load(object)) throw_load_error(-error, fmt::format("{}: cannot load its program", owner));
    remember_maps(object, owner);
    objects_.push_back(std::move(copy));
    return bpf_program__fd(program);
}

/// Loads each distinct chain once, however many ports use it. Gives the first slot of each.
Generation::Bases Generation::load_chains(const Blueprint& blueprint, const StateStore& state)
{
    Bases bases;
    std::uint32_t next = 0;
    for (const auto& port : blueprint.settings.ports) {
        if (!bases.emplace(port.chain, next).second) continue;
        const auto length = static_cast<std::uint32_t>(port.chain.size()) + 1;
        if (next + length > EVNF_MAX_SLOTS) throw std::length_error{"the chains are longer than the PROG_ARRAY"};
        load_chain(blueprint, port.chain, next, state);
        next += length;
    }
    return bases;
}

void Generation::load_chain(const Blueprint& blueprint, const std::vector<std::string>& chain, std::uint32_t base,
                            const StateStore& state)
{
    const auto last = base + static_cast<std::uint32_t>(chain.size());
    const auto wire = blueprint.settings.mode == ForwardingMode::wire;
    for (std::uint32_t i = 0; i <= chain.size(); ++i) {
        evnf_stage_config config{.next_slot = base + i + 1, .last_slot = last, .wire = wire, .dry_run = blueprint.dry_run};
        int program = -1;
        if (i == chain.size()) {
            config.stage = EVNF_STAGE_FORWARDER;
            program = load(std::make_unique<SkeletonFastPath<forwarder_bpf>>(), kFramework, config, state);
        } else {
            const auto& plugin = blueprint.plugins.at(chain[i]);
            config.stage = plugin.stage;
            config.skip_mask = skip_mask(blueprint, chain, i + 1);
            config.orphan_drop = plugin.orphan == Orphan::drop;
            program = load(plugin.staged->open(), chain[i], config, state);
        }
        framework_map("evnf_chain").update(base + i, program);
    }
}

/// Bit i: the stage at chain[from + i] may be skipped when it is missing.
std::uint64_t Generation::skip_mask(const Blueprint& blueprint, const std::vector<std::string>& chain, std::size_t from)
{
    std::uint64_t mask = 0;
    for (std::size_t i = from; i < chain.size(); ++i)
        if (blueprint.plugins.at(chain[i]).on_error == OnError::skip) mask |= std::uint64_t{1} << (i - from);
    return mask;
}

void Generation::load_entries(const Blueprint& blueprint, const Bases& bases, const StateStore& state)
{
    for (const auto& port : blueprint.settings.ports) {
        const std::uint32_t base = bases.at(port.chain);
        const evnf_stage_config config{
            .stage = EVNF_STAGE_ENTRY,
            .next_slot = base,
            .last_slot = base + static_cast<std::uint32_t>(port.chain.size()),
            .port = blueprint.ports.slots.at(port.name),
            .skip_mask = skip_mask(blueprint, port.chain, 0),
            .wire = blueprint.settings.mode == ForwardingMode::wire,
            .dry_run = blueprint.dry_run,
        };
        entries_[port.name] = load(std::make_unique<SkeletonFastPath<entry_bpf>>(), kFramework, config, state);
    }
}

MapRef Generation::framework_map(const std::string& name) const
{
    return maps_.at(kFramework)->get(name);
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
    for (std::uint32_t stage : blueprint.stages.fresh)
        framework_map("evnf_stages").update_per_cpu(stage, evnf_stage_counters{});
    for (std::uint32_t port : blueprint.ports.fresh)
        framework_map("evnf_ports").update_per_cpu(port, evnf_port_counters{});
}

void Generation::set_port(std::uint32_t port, const PortLink& link) const
{
    evnf_port_config config{.wire = wires_.at(port), .ifindex = link.ifindex};
    std::copy(link.mac.begin(), link.mac.end(), config.mac);
    framework_map("evnf_port_configs").update(port, config);
    if (link.ifindex == 0) return;
    framework_map("evnf_egress").update(port, link.ifindex);
    framework_map("evnf_port_by_ifindex").update(link.ifindex, port);
}

void Generation::set_routing(const evnf_routing& routing) const
{
    framework_map("evnf_routing").update(__u32{0}, routing);
}

void Generation::set_heartbeat(std::uint32_t stage, std::uint64_t deadline) const
{
    framework_map("evnf_heartbeats").update(stage, deadline);
}

/// Sends a probe through every port's chain: it must have seen each stage, and nothing else counts it.
void Generation::test(const Blueprint& blueprint) const
{
    const PinnedToCpu pinned;
    for (const auto& port : blueprint.settings.ports) {
        std::uint32_t expected = 1u << EVNF_STAGE_ENTRY | 1u << EVNF_STAGE_FORWARDER;
        for (const auto& stage : port.chain) expected |= 1u << blueprint.plugins.at(stage).stage;
        std::array<std::uint8_t, 64> frame{};
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = frame.size());
        if (const int error = bpf_prog_test_run_opts(entry(port.name), &options))
            throw_errno(-error, fmt::format("self-test of port {}: cannot run its entry", port.name));
        const auto packets = framework_map("evnf_packets").find_per_cpu<evnf_packet>(__u32{0});
        const auto visited = packets.at(static_cast<std::size_t>(pinned.cpu())).visited;
        for (const auto& stage : port.chain)
            if (!(visited & 1u << blueprint.plugins.at(stage).stage))
                throw std::runtime_error{fmt::format("self-test of port {}: the probe did not reach {}", port.name, stage)};
        if (visited != expected)
            throw std::runtime_error{fmt::format("self-test of port {}: the probe did not reach the forwarder", port.name)};
    }
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
