// SPDX-License-Identifier: MIT
/// What differs between two configurations, as far as it decides what a reload must touch.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "generation.hpp"

namespace evnf {

/// A plugin's part of a configuration.
struct PluginTraits {
    /// What other programs of the generation depend on.
    struct Outline {
        const Instance* instance;
        OnError on_error;
        Orphan orphan;
        bool leaves_chain;
        std::vector<Address> virtual_addresses;
        bool operator==(const Outline&) const = default;
    } outline;
    std::string keys;                  ///< its own, as YAML
    std::optional<std::string> inputs; ///< Staged::inputs()
};

struct Traits {
    std::vector<PortSettings> ports;
    ForwardingMode mode;
    std::vector<std::pair<std::string, std::string>> wires;
    std::map<std::string, PluginTraits> plugins;
};

Traits traits_of(const Blueprint& blueprint);

/// The one plugin whose own settings are all that differs; nothing where more does, or nothing at all.
std::optional<std::string> only_change(const Traits& before, const Traits& after);

} // namespace evnf
