// SPDX-License-Identifier: MIT
/// What `evnfctl dpi …` shows.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string_view>

#include "flow_table.hpp"
#include "inspector.hpp"
#include "policies.hpp"

namespace evnf::dpi {

std::string_view state_name(dpi_state state);

/// One object per flow that is alive, or has just ended: its 5-tuple has begun anew, and its record is not written yet.
boost::json::array report_flows(const FlowTable& table, const Inspector& inspector);
/// One object per application: flows that are alive and flows that have ended.
boost::json::array report_apps(const FlowTable& table, const Inspector& inspector);
/// The same per category.
boost::json::array report_categories(const FlowTable& table, const Inspector& inspector);
/// The `count` flows with most bytes.
boost::json::array report_top(const FlowTable& table, const Inspector& inspector, std::size_t count);
/// What each policy was applied to.
boost::json::array report_policies(const Policies& policies);
/// How full the table is, and what could not be done.
boost::json::object report_status(const FlowTable& table, const Inspector& inspector, std::uint32_t max_flows);

} // namespace evnf::dpi
