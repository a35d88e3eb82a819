// SPDX-License-Identifier: MIT
// prometheus-cpp's headers are included here only.
#include <prometheus/text_serializer.h>

#include <map>

#include "metrics.hpp"

namespace evnf {

namespace {

prometheus::ClientMetric client_metric(const std::vector<std::pair<std::string, std::string>>& labels, MetricType type, double value)
{
    prometheus::ClientMetric metric;
    for (const auto& [name, text] : labels) metric.label.push_back({name, text});
    (type == MetricType::counter ? metric.counter.value : metric.gauge.value) = value;
    return metric;
}

} // namespace

std::string metrics_text(std::vector<MetricFamily> families)
{
    std::map<std::string, MetricFamily> by_name;
    for (auto& family : families) {
        auto& one = by_name.try_emplace(family.name, MetricFamily{family.name, family.help, family.type, {}}).first->second;
        std::move(family.samples.begin(), family.samples.end(), std::back_inserter(one.samples));
    }
    std::vector<prometheus::MetricFamily> result;
    for (auto& [name, family] : by_name) {
        const bool counts = family.type == MetricType::counter;
        std::map<std::vector<std::pair<std::string, std::string>>, double> sums;
        for (auto& sample : family.samples) sums[std::move(sample.labels)] += sample.value;
        prometheus::MetricFamily text{name, family.help, counts ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge, {}};
        for (const auto& [labels, value] : sums) text.metric.push_back(client_metric(labels, family.type, value));
        if (!text.metric.empty()) result.push_back(std::move(text));
    }
    return prometheus::TextSerializer{}.Serialize(result);
}

} // namespace evnf
