// SPDX-License-Identifier: MIT
/// What `evnfctl lb …` shows.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <memory>

#include <evnf/plugin.hpp>

#include "connections.hpp"
#include "feedback.hpp"
#include "health.hpp"
#include "settings.hpp"
#include "steering.hpp"

namespace evnf::lb {

/// The configuration in force.
struct Live {
    std::shared_ptr<const Settings> settings;
    std::unique_ptr<Steering> steering;
    std::shared_ptr<const Maps> maps;
    Connections connections;
};

/// All of them count or list connections by a walk of the tables. `now`: jiffies.
boost::json::array show_backends(const Live& live, const HealthChecks& health, const Feedback& feedback, std::uint64_t now);
boost::json::array show_connections(const Live& live, std::uint64_t now, unsigned jiffies_per_second);
/// How full the tables are, what they take, and what became of new connections.
boost::json::object show_tracking(const Live& live, std::uint64_t now);

/// Traffic, weight and state of each backend; walks no table of connections.
std::vector<MetricFamily> backend_metrics(const Live& live);

/// Where a backend stands, without its traffic. Service and backend must be there.
boost::json::array show_standing(const Live& live, std::string_view service, std::string_view backend);

} // namespace evnf::lb
