// SPDX-License-Identifier: MIT
#include "change.hpp"

#include <algorithm>

namespace evnf {

namespace {

std::string keys_of(const Settings& settings, const std::string& instance)
{
    const auto plugin = std::find_if(settings.plugins.begin(), settings.plugins.end(),
                                     [&](const auto& candidate) { return candidate.instance == instance; });
    return plugin->config.present() ? YAML::Dump(plugin->config.yaml()) : std::string{};
}

bool is_same(const PluginTraits& before, const PluginTraits& after)
{
    return before.keys == after.keys && before.inputs && before.inputs == after.inputs;
}

} // namespace

Traits traits_of(const Blueprint& blueprint)
{
    Traits traits{blueprint.settings.ports, blueprint.settings.mode, blueprint.settings.wires, {}};
    for (const auto& [name, plugin] : blueprint.plugins)
        traits.plugins.emplace(name, PluginTraits{{plugin.instance.get(), plugin.on_error, plugin.orphan,
                                                   plugin.staged->leaves_chain(), plugin.staged->virtual_addresses()},
                                                  keys_of(blueprint.settings, name),
                                                  plugin.staged->inputs()});
    return traits;
}

std::optional<std::string> only_change(const Traits& before, const Traits& after)
{
    if (before.ports != after.ports || before.mode != after.mode || before.wires != after.wires) return std::nullopt;
    if (before.plugins.size() != after.plugins.size()) return std::nullopt;
    std::optional<std::string> changed;
    for (const auto& [name, plugin] : after.plugins) {
        const auto former = before.plugins.find(name);
        if (former == before.plugins.end() || former->second.outline != plugin.outline) return std::nullopt;
        if (is_same(former->second, plugin)) continue;
        if (changed) return std::nullopt;
        changed = name;
    }
    return changed;
}

} // namespace evnf
