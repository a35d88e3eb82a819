// SPDX-License-Identifier: MIT
/// What `evnfctl dpi …` shows.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string_view>

#include "flow_table.hpp"
#include "inspector.hpp"

namespace evnf::dpi {

std::string_view state_name(dpi_state state);

/// One object per flow that is alive.
boost::json::array report_flows(const FlowTable& table, const Inspector& inspector, bool offload);
/// One object per application: flows that are alive and flows that have ended.
boost::json::array report_apps(const FlowTable& table, const Inspector& inspector);
/// How full the table is, and what could not be done.
boost::json::object report_status(const FlowTable& table, const Inspector& inspector);

} // namespace evnf::dpi
