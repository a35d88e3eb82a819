// SPDX-License-Identifier: MIT
#include "steering.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace evnf::lb {

namespace {

/// Shares are of weights in these units: feedback changes weights by fractions.
constexpr double kShareUnits = 1024;
constexpr double kFeedbackOne = LB_FEEDBACK_ONE;
/// The most that feedback makes of a weight, so that it fits in a share.
constexpr double kMaxWeight = 1e6;

/// As the state maps remember it, but for what has lost its ground.
lb_steered continued(const Service& service, const Backend& backend, const lb_steered& before)
{
    lb_steered state = before;
    if (service.health.type == Health::Type::none) state.unhealthy = 0;
    if (!service.feedback) state.has_feedback = 0;
    const auto configured = static_cast<__u8>(backend.state);
    if (state.configured != configured) state.command = LB_COMMAND_NONE;
    state.configured = configured;
    return state;
}

lb_steered fresh(const Backend& backend)
{
    lb_steered state{};
    state.configured = static_cast<__u8>(backend.state);
    return state;
}

} // namespace

Steering::Steering(std::shared_ptr<const Settings> settings, const Maps& maps)
    : settings_{std::move(settings)}, placement_{*settings_, maps}
{
    const auto memory = maps.get("lb_steered");
    const std::set<std::uint32_t> unknown{placement_.fresh().begin(), placement_.fresh().end()};
    for (const auto& service : settings_->services) {
        Group group{&service, {}};
        for (const auto& backend : service.backends) {
            const auto index = placement_.index_of(service, backend);
            const auto before = unknown.contains(index) ? std::nullopt : memory.find<lb_steered>(index);
            group.backends.push_back({&backend, index, before ? continued(service, backend, *before) : fresh(backend)});
        }
        std::sort(group.backends.begin(), group.backends.end(),
                  [](const Steered& a, const Steered& b) { return a.backend->name < b.backend->name; });
        groups_.push_back(std::move(group));
        share_out(groups_.size() - 1);
    }
}

// ---------------------------------------------------------------- what follows from the state

/// Its health apart.
BackendState Steering::wanted_state(const Steered& steered)
{
    switch (steered.state.command) {
        case LB_COMMAND_ACTIVATE:
            return BackendState::active;
        case LB_COMMAND_DRAIN:
            return BackendState::drain;
        default:
            return steered.backend->state;
    }
}

BackendState Steering::state_of(const Steered& steered)
{
    return steered.state.unhealthy ? BackendState::down : wanted_state(steered);
}

/// Its health apart.
double Steering::configured_weight(const Steered& steered)
{
    return wanted_state(steered) == BackendState::active ? steered.backend->weight : 0;
}

double Steering::fed_back_weight(const Steered& steered)
{
    const double factor = steered.state.has_feedback ? steered.state.feedback / kFeedbackOne : 1;
    return std::min(configured_weight(steered) * factor, kMaxWeight);
}

/// There are backends that shall have traffic, and health checks find none of them up.
bool Steering::all_down(const Group& group)
{
    const auto wanted = [](const Steered& steered) { return configured_weight(steered) > 0; };
    return std::any_of(group.backends.begin(), group.backends.end(), wanted) &&
           std::none_of(group.backends.begin(), group.backends.end(),
                        [&](const Steered& steered) { return wanted(steered) && !steered.state.unhealthy; });
}

/// Its connections select anew.
bool Steering::is_given_up(const Group& group, const Steered& steered)
{
    if (wanted_state(steered) == BackendState::down) return true;
    return steered.state.unhealthy && !(group.service->when_all_down == WhenAllDown::keep && all_down(group));
}

/// By feedback; as configured where that would leave none of those that are up anything, or none is up.
std::vector<double> Steering::weights_of(const Group& group)
{
    const auto weigh = [&](double (*weight_of)(const Steered&)) {
        std::vector<double> weights;
        for (const auto& steered : group.backends)
            weights.push_back(is_given_up(group, steered) ? 0 : weight_of(steered));
        return weights;
    };
    const auto weights = weigh(all_down(group) ? configured_weight : fed_back_weight);
    const bool none = std::all_of(weights.begin(), weights.end(), [](double weight) { return weight == 0; });
    return none ? weigh(configured_weight) : weights;
}

Standing Steering::standing(const Service& service, const Backend& backend) const
{
    const auto& group = groups_.at(static_cast<std::size_t>(&service - settings_->services.data()));
    const auto steered = std::find_if(group.backends.begin(), group.backends.end(),
                                      [&](const Steered& candidate) { return candidate.backend == &backend; });
    const auto position = static_cast<std::size_t>(steered - group.backends.begin());
    return {steered->index, state_of(*steered), weights_of(group)[position], placement_.slots_of(steered->index), steered->state};
}

void Steering::share_out(std::size_t index)
{
    auto& group = groups_[index];
    const auto weights = weights_of(group);
    std::vector<Share> shares;
    for (std::size_t i = 0; i < weights.size(); ++i)
        shares.push_back({static_cast<std::uint16_t>(group.backends[i].index),
                          static_cast<std::uint32_t>(std::lround(weights[i] * kShareUnits))});
    const auto moved = placement_.share_out(index, shares);
    for (auto& steered : group.backends)
        if (const auto taken = moved.find(steered.index); taken != moved.end()) steered.state.moved += taken->second;
}

// ---------------------------------------------------------------- to the maps

void Steering::write_backends(const Group& group, const Maps& maps)
{
    const auto map = maps.get("lb_backends");
    for (const auto& steered : group.backends) {
        lb_backend entry{};
        entry.address = steered.backend->address.raw;
        entry.port = htons(steered.backend->port);
        entry.down = !is_given_up(group, steered) ? LB_UP : group.service->reset_when_down ? LB_DOWN_RESET : LB_DOWN;
        map.update(steered.index, entry);
    }
}

void Steering::remember(const Group& group, const Maps& maps)
{
    const auto memory = maps.get("lb_steered");
    for (const auto& steered : group.backends) memory.update(steered.index, steered.state);
}

void Steering::fill(const Maps& maps) const
{
    const auto counters = maps.get("lb_counters");
    for (const auto index : placement_.fresh()) counters.update_per_cpu(index, lb_counters{});
    for (const auto& group : groups_) write_backends(group, maps);
    placement_.fill(maps);
}

void Steering::commit(std::shared_ptr<const Maps> maps)
{
    maps_ = std::move(maps);
    placement_.save(*maps_);
    for (const auto& group : groups_) remember(group, *maps_);
}

void Steering::publish()
{
    for (std::size_t i = 0; i < groups_.size(); ++i)
        if (groups_[i].changed) publish(i);
}

/// The table before the backends: a backend whose connections are to select anew is not selected any more by then.
void Steering::publish(std::size_t index)
{
    share_out(index);
    placement_.swap(index, *maps_);
    write_backends(groups_[index], *maps_);
    remember(groups_[index], *maps_);
    groups_[index].changed = false;
}

// ---------------------------------------------------------------- changes

void Steering::set_feedback(const std::string& service, const std::string& backend, double weight)
{
    auto& group = find(service);
    auto& steered = find(group, backend);
    if (steered.backend->weight == 0) return;
    const double factor = std::clamp(weight, 0.0, kMaxWeight) / steered.backend->weight;
    const auto feedback = static_cast<__u32>(
        std::min<double>(std::llround(factor * kFeedbackOne), std::numeric_limits<__u32>::max()));
    group.changed |= !steered.state.has_feedback || steered.state.feedback != feedback;
    steered.state.has_feedback = 1;
    steered.state.feedback = feedback;
}

bool Steering::set_health(const std::string& service, const std::string& backend, bool up)
{
    auto& group = find(service);
    auto& state = find(group, backend).state;
    if (state.unhealthy == !up) return false;
    state.unhealthy = !up;
    ++state.turns;
    return group.changed = true;
}

void Steering::drain(const std::string& service, const std::string& backend)
{
    command(service, backend, LB_COMMAND_DRAIN);
}

void Steering::activate(const std::string& service, const std::string& backend)
{
    command(service, backend, LB_COMMAND_ACTIVATE);
}

void Steering::command(const std::string& service, const std::string& backend, lb_command command)
{
    auto& group = find(service);
    find(group, backend).state.command = static_cast<__u8>(command);
    group.changed = true;
}

// ---------------------------------------------------------------- by name

Steering::Group& Steering::find(std::string_view service)
{
    const auto found = std::find_if(groups_.begin(), groups_.end(),
                                    [&](const Group& group) { return group.service->name == service; });
    if (found != groups_.end()) return *found;
    std::vector<std::string_view> names;
    for (const auto& group : groups_) names.push_back(group.service->name);
    throw std::runtime_error{fmt::format("no service is named '{}'; there are: {}", service, fmt::join(names, ", "))};
}

Steering::Steered& Steering::find(Group& group, std::string_view backend)
{
    const auto found = std::find_if(group.backends.begin(), group.backends.end(),
                                    [&](const Steered& steered) { return steered.backend->name == backend; });
    if (found != group.backends.end()) return *found;
    std::vector<std::string_view> names;
    for (const auto& steered : group.backends) names.push_back(steered.backend->name);
    throw std::runtime_error{fmt::format("no backend of '{}' is named '{}'; there are: {}", group.service->name, backend,
                                         fmt::join(names, ", "))};
}

} // namespace evnf::lb
