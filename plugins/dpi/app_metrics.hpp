// SPDX-License-Identifier: MIT
/// Traffic by application for a monitoring system, whose memory is not for every name that passes by.
#pragma once

#include <evnf/metrics.hpp>

#include <map>
#include <string>
#include <vector>

#include "flow_table.hpp"

namespace evnf::dpi {

/// Up to 64 applications have series of their own, given to those with most bytes while there are any left and kept for good;
/// the others are one series, `other`. None ever falls: a flow that is taken for another application than before
/// counts for both.
class AppMetrics {
public:
    /// The families app_flows_total, app_packets_total and app_bytes_total.
    std::vector<MetricFamily> families(const std::map<std::string, AppTotals>& totals);

private:
    void admit(const std::map<std::string, AppTotals>& totals);

    std::map<std::string, AppTotals> told_; ///< by application with a series of its own
    AppTotals told_others_;
};

} // namespace evnf::dpi
