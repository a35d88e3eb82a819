// SPDX-License-Identifier: MIT
/// Traffic by application, as a monitoring system is told of it: bounded, and never falling.
#include "../../plugins/dpi/app_metrics.hpp"

#include <fmt/format.h>

#include "catch.hpp"
#include "dice.hpp"
#include "seed.hpp"

using evnf::dpi::AppMetrics;
using evnf::dpi::AppTotals;

namespace {

std::map<std::string, double> bytes(AppMetrics& metrics, const std::map<std::string, AppTotals>& totals)
{
    std::map<std::string, double> values;
    for (const auto& family : metrics.families(totals)) {
        if (family.name != "app_bytes_total") continue;
        for (const auto& sample : family.samples) values[sample.labels.at(0).second] = sample.value;
    }
    return values;
}

} // namespace

TEST_CASE("dpi metrics: the largest 64 applications have series of their own, the sum of all is right")
{
    AppMetrics metrics;
    std::map<std::string, AppTotals> totals;
    for (unsigned i = 1; i <= 100; ++i) totals[fmt::format("app{}", i)] = {1, 1, i};
    const auto values = bytes(metrics, totals);
    CHECK(values.size() == 65);
    CHECK(values.at("app100") == 100);
    CHECK(values.at("app37") == 37);
    CHECK_FALSE(values.contains("app36"));
    CHECK(values.at("other") == 36 * 37 / 2);
}

TEST_CASE("dpi metrics: an application keeps its series, however large others grow")
{
    AppMetrics metrics;
    std::map<std::string, AppTotals> totals;
    for (unsigned i = 1; i <= 64; ++i) totals[fmt::format("app{}", i)] = {1, 1, 1};
    (void)bytes(metrics, totals);
    totals["late"] = {1, 1, 1'000'000};
    const auto values = bytes(metrics, totals);
    CHECK(values.size() == 65);
    CHECK(values.at("app1") == 1);
    CHECK(values.at("other") == 1'000'000);
}

TEST_CASE("dpi metrics: no series ever falls, whatever the table tells")
{
    AppMetrics metrics;
    const auto seed = evnf::test::seed_of_test();
    std::mt19937 random{seed};
    evnf::test::Dice dice{random};
    std::map<std::string, double> before;
    for (int round = 0; round < 200; ++round) {
        std::map<std::string, AppTotals> totals;
        for (unsigned i = 0; i < dice.below(100); ++i) totals[fmt::format("app{}", dice.below(120))] = {1, 1, dice.below(1000)};
        const auto now = bytes(metrics, totals);
        for (const auto& [app, value] : before) REQUIRE(now.at(app) >= value);
        before = now;
    }
}
