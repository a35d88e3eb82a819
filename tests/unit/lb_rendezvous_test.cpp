// SPDX-License-Identifier: MIT
/// Tables by seed: the same for all who share it, and no slot moves between backends that do not change.
#include "../../plugins/lb/rendezvous.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "catch.hpp"

using evnf::lb::key_of;
using evnf::lb::NamedShare;
using evnf::lb::rendezvous;
using evnf::lb::Table;

namespace {

const auto key = key_of("a seed");

std::map<std::uint16_t, double> count(const Table& table)
{
    std::map<std::uint16_t, double> counts;
    for (const auto owner : table) ++counts[owner];
    return counts;
}

/// Slots that moved, and how many of them between backends other than `changed`.
std::pair<int, int> moved(const Table& from, const Table& to, std::uint16_t changed)
{
    int all = 0, others = 0;
    for (std::size_t slot = 0; slot < from.size(); ++slot) {
        if (from[slot] == to[slot]) continue;
        ++all;
        others += from[slot] != changed && to[slot] != changed;
    }
    return {all, others};
}

} // namespace

TEST_CASE("lb rendezvous: names decide, not the indices or the order that a balancer gives them")
{
    const auto here = rendezvous(key, {{"web/a", {0, 100}}, {"web/b", {1, 200}}, {"web/c", {2, 50}}}, 4096);
    const auto there = rendezvous(key, {{"web/c", {7, 50}}, {"web/a", {9, 100}}, {"web/b", {8, 200}}}, 4096);
    const std::map<std::uint16_t, std::uint16_t> same{{0, 9}, {1, 8}, {2, 7}};
    for (std::size_t slot = 0; slot < here.size(); ++slot) REQUIRE(same.at(here[slot]) == there[slot]);
}

TEST_CASE("lb rendezvous: another seed gives another table and another key")
{
    const std::vector<NamedShare> shares{{"web/a", {0, 100}}, {"web/b", {1, 100}}};
    const auto other = key_of("another seed");
    CHECK(other.halves[0] != key.halves[0]);
    CHECK(other.halves[1] != key.halves[1]);
    CHECK(key.halves[0] != key.halves[1]);
    CHECK(moved(rendezvous(key, shares, 4096), rendezvous(other, shares, 4096), 99).first > 1800);
}

TEST_CASE("lb rendezvous: weights and nothing else give the shares, within four standard deviations")
{
    const auto counts = count(rendezvous(key, {{"web/a", {0, 100}}, {"web/b", {1, 200}}, {"web/c", {2, 700}}}, 65536));
    for (const auto& [backend, share] : std::map<std::uint16_t, double>{{0, 0.1}, {1, 0.2}, {2, 0.7}})
        CHECK(std::abs(counts.at(backend) - share * 65536) < 4 * std::sqrt(share * (1 - share) * 65536));
}

TEST_CASE("lb rendezvous: scaled weights are the same weights; none gives no owner")
{
    CHECK(rendezvous(key, {{"web/a", {0, 3}}, {"web/b", {1, 5}}}, 4096) ==
          rendezvous(key, {{"web/a", {0, 3072}}, {"web/b", {1, 5120}}}, 4096));
    CHECK(count(rendezvous(key, {{"web/a", {0, 0}}}, 4096)) == std::map<std::uint16_t, double>{{LB_NO_BACKEND, 4096}});
}

TEST_CASE("lb rendezvous: one backend's change moves as many slots as its count changes, none between others")
{
    const auto seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random{seed};
    std::vector<std::string> names;
    for (int i = 0; i < 12; ++i) names.push_back("web/s" + std::to_string(i));
    std::vector<NamedShare> shares;
    for (std::uint16_t i = 0; i < names.size(); ++i) shares.push_back({names[i], {i, 100}});
    auto table = rendezvous(key, shares, 4096);
    for (int round = 0; round < 100; ++round) {
        const auto changed = static_cast<std::uint16_t>(random() % shares.size());
        shares[changed].share.weight = random() % 4 ? random() % 1000 : 0;
        const auto next = rendezvous(key, shares, 4096);
        const auto [all, others] = moved(table, next, changed);
        REQUIRE(others == 0);
        REQUIRE(all == std::abs(count(next)[changed] - count(table)[changed]));
        table = next;
    }
}
