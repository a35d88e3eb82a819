// SPDX-License-Identifier: MIT
/// What inspection does, and what it costs: a part of `evnfctl dpi status`.
#pragma once

#include <boost/json/object.hpp>

#include "inspector.hpp"

namespace evnf::dpi {

/// Adds `poisonous_flows`, and `workers`: of each the flows and packets that nDPI has looked at, and its time.
void report_inspection(const Inspector& inspector, boost::json::object& status);

} // namespace evnf::dpi
