// SPDX-License-Identifier: MIT
/// What `daemon.metrics` offers, from what `status` and `stats` tell and plugins add.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/metrics.hpp>

#include "dataplane.hpp"

namespace evnf {

/// Of the framework; its arguments are the answers to `status` and `stats`.
std::vector<MetricFamily> framework_metrics(const boost::json::object& status, const boost::json::object& stats);
/// Of this process, as /proc tells.
std::vector<MetricFamily> process_metrics();
/// Of all plugins: evnf_MODULE_NAME with the label `plugin`. One that cannot tell has evnf_plugin_scrape_success 0.
std::vector<MetricFamily> plugin_metrics(const Dataplane& dataplane);

/// The text format 0.0.4. Families of one name become one, and samples with the same labels their sum.
std::string metrics_text(std::vector<MetricFamily> families);

} // namespace evnf
