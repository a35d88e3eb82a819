// SPDX-License-Identifier: MIT
/// What decides which share of its service's slots a backend has, live: the configuration, commands, health checks and
/// feedback. All on the control thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/plugin.hpp>

#include "lb_shared.h"
#include "placement.hpp"
#include "settings.hpp"

namespace evnf::lb {

/// Where a backend stands.
struct Standing {
    std::uint32_t index;
    BackendState state; ///< what the fast path does with it
    double weight;      ///< what counts when slots are shared out, on the scale of the configured weight
    std::uint32_t slots;
    lb_steered steered;
};

class Steering {
public:
    /// Of a new generation: goes on from what the state maps remember.
    Steering(std::shared_ptr<const Settings> settings, const Maps& maps);

    // On the way to be live, in this order.

    /// Writes the maps of the new generation, and the state that no live packet uses.
    void fill(const Maps& maps) const;
    /// The generation is live; `maps` are its maps. Throws where the state cannot be remembered: then the next change may
    /// move more slots than it must.
    void commit(std::shared_ptr<const Maps> maps);

    // Live. Changes are collected until publish(). Names that nobody has: std::runtime_error, which says who there is.

    /// The weight that the backend shall have in place of the configured one, on the same scale; 0 and more. A backend whose
    /// configured weight is 0 stays without slots.
    void set_feedback(const std::string& service, const std::string& backend, double weight);
    /// True where that is a change, of which publish() has to be told.
    bool set_health(const std::string& service, const std::string& backend, bool up);
    void drain(const std::string& service, const std::string& backend);
    void activate(const std::string& service, const std::string& backend);
    /// Gives every service in which something changed its new table, moving as few slots as it can; each table goes live at
    /// once. Throws where a map cannot be written; what is not published by then is by the next call.
    void publish();

    // What there is.

    /// Of a backend of the settings.
    Standing standing(const Service& service, const Backend& backend) const;
    /// "service/backend"; empty where the index belongs to no configured backend.
    std::string_view name_of(std::uint32_t index) const { return placement_.name_of(index); }

private:
    struct Steered {
        const Backend* backend;
        std::uint32_t index;
        lb_steered state;
    };
    /// A service and its backends by name: their order in the file must not matter.
    struct Group {
        const Service* service;
        std::vector<Steered> backends;
        bool changed = false;
    };

    static BackendState wanted_state(const Steered& steered);
    static BackendState state_of(const Steered& steered);
    static double weight_of(const Steered& steered);
    static void write_backends(const Group& group, const Maps& maps);
    static void remember(const Group& group, const Maps& maps);

    void share_out(std::size_t group);
    void publish(std::size_t group);
    void command(const std::string& service, const std::string& backend, lb_command command);
    Group& find(std::string_view service);
    Steered& find(Group& group, std::string_view backend);

    std::shared_ptr<const Settings> settings_;
    Placement placement_;
    std::vector<Group> groups_; // by service
    std::shared_ptr<const Maps> maps_;
};

} // namespace evnf::lb
