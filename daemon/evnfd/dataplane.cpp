// SPDX-License-Identifier: MIT
#include "dataplane.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

namespace evnf {

namespace {

/// Ports as the candidate configuration numbers them.
class PlannedPorts final : public Ports {
public:
    explicit PlannedPorts(const Slots::Plan& plan) : plan_{plan} {}

    int index(std::string_view name) const override
    {
        const auto found = plan_.slots.find(name);
        return found == plan_.slots.end() ? -1 : static_cast<int>(found->second);
    }
    std::string_view name(int index) const override
    {
        for (const auto& [name, slot] : plan_.slots)
            if (static_cast<int>(slot) == index) return name;
        return {};
    }

private:
    const Slots::Plan& plan_;
};

std::set<std::string> instances_in_chains(const Settings& settings)
{
    std::set<std::string> names;
    for (const auto& port : settings.ports) names.insert(port.chain.begin(), port.chain.end());
    return names;
}

std::shared_ptr<Instance> running_or_new(const PluginSettings& plugin, const Instances& running, const InstanceContext& context)
{
    const auto found = running.find(plugin.instance);
    const bool usable = found != running.end() && found->second->module() == plugin.module && !found->second->quarantined();
    if (usable) return found->second;
    return std::make_shared<Instance>(plugin.instance, plugin.module, context);
}

std::vector<std::string> port_names(const Settings& settings)
{
    std::vector<std::string> names;
    for (const auto& port : settings.ports)
        if (!port.name.empty()) names.push_back(port.name);
    if (names.size() > EVNF_MAX_PORTS) names.resize(EVNF_MAX_PORTS); // reported already
    return names;
}

/// Whose state maps they are and of what layout, in one number.
std::uint32_t layout_id(const Instance& instance)
{
    std::uint32_t hash = 2166136261u; // FNV-1a
    for (const char c : fmt::format("{}:{}", instance.module(), instance.descriptor().layout))
        hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
    return hash;
}

} // namespace

Blueprint stage(const Settings& settings, Problems& problems, const Instances& running, const InstanceContext& context,
                const Slots& ports, const Slots& stages)
{
    Blueprint blueprint;
    blueprint.settings = settings;
    blueprint.ports = ports.plan(port_names(settings));
    const PlannedPorts planned{blueprint.ports};
    const auto used = instances_in_chains(settings);
    for (const auto& plugin : settings.plugins) {
        try {
            auto instance = running_or_new(plugin, running, context);
            auto staged = instance->stage(plugin.config, planned);
            const auto on_error = plugin.on_error.value_or(instance->descriptor().on_error);
            if (settings.mode == ForwardingMode::wire && staged && staged->leaves_chain())
                plugin.config.error("leaves packets to the kernel's netfilter, which sees nothing of a wire: use forwarding.mode "
                                    "route, or let the plugin decide itself (fw: no action or default 'netfilter')");
            if (used.contains(plugin.instance))
                blueprint.plugins.emplace(plugin.instance, StagedPlugin{instance, std::move(staged), on_error, plugin.orphan});
            else
                plugin.config.warning("is in no chain");
        } catch (const std::exception& error) {
            plugin.config.error(error.what());
        }
    }
    if (!problems.empty()) throw ConfigError{problems.errors()};
    blueprint.stages = stages.plan({used.begin(), used.end()});
    for (auto& [name, plugin] : blueprint.plugins) plugin.stage = blueprint.stages.slots.at(name);
    for (const auto& line : problems.warnings()) context.log->warn("{}", line);
    return blueprint;
}

void check_configuration(const std::string& file, const InstanceContext& context)
{
    Problems problems{file};
    const Settings settings = read_settings(problems);
    stage(settings, problems, {}, context, Slots{EVNF_MAX_PORTS}, Slots{EVNF_MAX_STAGES, EVNF_STAGE_FIRST_PLUGIN});
}

Dataplane::Dataplane(InstanceContext context, const PinDirectory* pins, bool dry_run)
    : context_{std::move(context)},
      pins_{pins},
      dry_run_{dry_run},
      state_{pins, *context_.log},
      ports_{Slots::read(state_.names_of_ports())},
      stages_{Slots::read(state_.names_of_stages(), EVNF_STAGE_FIRST_PLUGIN)}
{
    context_.state = [this](const auto& instance, const auto& name) { return state_.find(instance, name); };
    context_.beat = [this] {
        if (running()) beat();
    };
}

Dataplane::~Dataplane() = default;

Dataplane::Candidate Dataplane::stage_file(const std::string& file) const
{
    Problems problems{file};
    const Settings settings = read_settings(problems);
    return finish_staging(settings, problems);
}

Dataplane::Candidate Dataplane::stage_text(const std::string& yaml, const std::string& name) const
{
    Problems problems{name};
    const Settings settings = read_settings(yaml, problems);
    return finish_staging(settings, problems);
}

Dataplane::Candidate Dataplane::finish_staging(const Settings& settings, Problems& problems) const
{
    Candidate candidate;
    candidate.blueprint = stage(settings, problems, instances_, context_, ports_, stages_);
    candidate.blueprint.number = std::max(state_.last_number(), running() ? generation_->number() : 0) + 1;
    candidate.blueprint.slot = dry_run_ ? 0 : free_slot(candidate.blueprint.number);
    candidate.blueprint.dry_run = dry_run_;
    return candidate;
}

/// Generations that packets may still come back to hold theirs; the others are given out in turn, so that one is not
/// used again for as long as possible. A start takes the oldest one's where none is free, for nobody else would ever free
/// it: as many starts as there are take longer than any packet.
std::uint32_t Dataplane::free_slot(std::uint32_t number) const
{
    constexpr std::uint32_t kSlots = EVNF_GENERATIONS - 1; // 0 is no generation's
    const auto generations = state_.find(kFramework, "evnf_generations");
    for (std::uint32_t i = 0; i < kSlots; ++i) {
        const std::uint32_t slot = (number + i) % kSlots + 1;
        if (!generations || !generations->find<std::uint32_t>(slot)) return slot;
    }
    if (!running()) return number % kSlots + 1;
    throw std::runtime_error{"too many reloads within seconds: packets are still under way in all former generations; try again"};
}

/// State that another version of a plugin, or another plugin of the same name, has left is not handed to this one.
void Dataplane::discard_foreign_state(const Blueprint& blueprint)
{
    const Meta meta = state_.meta();
    std::set<std::string> foreign;
    for (const auto& [name, plugin] : blueprint.plugins) {
        const auto stage = stages_.find(name);
        const bool ours = stage >= 0 && meta.layouts[stage] == layout_id(*plugin.instance);
        if (ours || !state_.has_any(name)) continue;
        context_.log->warn("plugin {}: its state is of another layout: starts empty", name);
        foreign.insert(name);
    }
    state_.discard(std::move(foreign));
}

/// The maps that the generation adds to the state, and the record of what it is.
void Dataplane::prepare_state(Candidate& candidate) const
{
    const auto& blueprint = candidate.blueprint;
    auto& made = candidate.generation->made();
    for (const auto& map : made) state_.copy_entries(map);
    Meta meta{.version = kMetaVersion, .generation = blueprint.number};
    for (const auto& [name, plugin] : blueprint.plugins) meta.layouts[plugin.stage] = layout_id(*plugin.instance);
    for (auto& map : state_.record(meta, blueprint.ports, blueprint.stages)) made.push_back(std::move(map));
    state_.prepare(made);
}

std::unique_ptr<Replacement> Dataplane::load_replacement(const Blueprint& blueprint) const
{
    if (!running() || dry_run_) return nullptr;
    const auto changed = only_change(traits_, traits_of(blueprint));
    if (!changed) return nullptr;
    auto replacement = std::make_unique<Replacement>(*generation_, *changed, *blueprint.plugins.at(*changed).staged, state_);
    return replacement->makes_state() ? nullptr : std::move(replacement);
}

void Dataplane::replace(Candidate& candidate)
{
    Blueprint& blueprint = candidate.blueprint;
    const std::string name = candidate.replacement->instance();
    const auto& plugin = blueprint.plugins.at(name);
    Traits traits = traits_of(blueprint);
    generation_->replace(std::move(*candidate.replacement));
    generation_->renumber(blueprint.number);
    plugin.staged->commit(generation_->maps(name));
    plugin.instance->read_rings(*generation_->maps(name), *plugin.staged);
    plugin.instance->forgive();
    traits_ = std::move(traits);
    settings_ = std::move(blueprint.settings);
}

void Dataplane::load(Candidate& candidate)
{
    candidate.replacement = load_replacement(candidate.blueprint);
    if (candidate.replacement) return;
    discard_foreign_state(candidate.blueprint);
    candidate.generation = std::make_unique<Generation>(candidate.blueprint, state_);
    try {
        prepare_state(candidate);
        for (const auto& [name, plugin] : candidate.blueprint.plugins) {
            plugin.instance->start();
            candidate.generation->set_heartbeat(plugin.stage, heartbeat_deadline());
        }
    } catch (...) {
        abandon(candidate);
        throw;
    }
}

void Dataplane::abandon(const Candidate& candidate) noexcept
{
    if (candidate.generation) state_.abandon();
}

std::unique_ptr<Generation> Dataplane::commit(Candidate candidate)
{
    Blueprint& blueprint = candidate.blueprint;
    Generation& next = *candidate.generation;
    for (const auto& made : next.made()) state_.copy_entries(made);
    state_.keep(std::move(next.made()));
    traits_ = traits_of(blueprint);
    ports_.commit(blueprint.ports, state_.names_of_ports());
    stages_.commit(blueprint.stages, state_.names_of_stages());

    Instances instances;
    for (auto& [name, plugin] : blueprint.plugins) {
        plugin.staged->commit(next.maps(name));
        plugin.instance->read_rings(*next.maps(name), *plugin.staged);
        plugin.instance->forgive();
        instances[name] = plugin.instance;
    }
    wait_for_packets_in_flight();
    auto retired = std::exchange(generation_, std::move(candidate.generation));
    state_.keep_only(generation_->state_maps());
    instances_ = std::move(instances);
    settings_ = std::move(blueprint.settings);
    return retired;
}

/// A dry run has no daemon that would put it off.
std::uint64_t Dataplane::heartbeat_deadline() const
{
    if (dry_run_) return std::numeric_limits<std::int64_t>::max();
    return context_.clock->jiffies() + std::uint64_t{kHeartbeatSeconds} * context_.clock->jiffies_per_second();
}

void Dataplane::beat() const
{
    for (const auto& [name, instance] : instances_)
        if (instance->alive()) generation_->set_heartbeat(stages_.at(name), heartbeat_deadline());
}

std::string Dataplane::stage_name(std::uint32_t stage) const
{
    if (stage == EVNF_STAGE_ENTRY) return "entry";
    if (stage == EVNF_STAGE_FORWARDER) return "forwarder";
    for (const auto& [name, slot] : stages_.all())
        if (slot == stage) return name;
    return "";
}

} // namespace evnf
