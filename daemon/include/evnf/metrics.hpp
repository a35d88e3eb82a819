// SPDX-License-Identifier: MIT
/// Numbers for a monitoring system, in Prometheus's data model and as plain data.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace evnf {

enum class MetricType {
    counter, ///< never falls but to 0 at a start; its name ends in _total
    gauge,
};

/// What is told of one thing: "packets of rule web".
struct MetricSample {
    std::vector<std::pair<std::string, std::string>> labels; ///< name and value; the value may be any UTF-8
    double value = 0;
};

/// All samples of one name. Each has another set of label values, and their number is bounded: a monitoring system keeps
/// every one that it ever saw.
struct MetricFamily {
    std::string name; ///< as Prometheus wants it, in base units: "rule_packets_total"
    std::string help;
    MetricType type = MetricType::counter;
    std::vector<MetricSample> samples;
};

} // namespace evnf
