// SPDX-License-Identifier: MIT
/// The selection table: exact shares, and no slot moved that need not move.
#include "../../plugins/lb/selection.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "../../plugins/lb/lb_shared.h"
#include "catch.hpp"

using evnf::lb::apportion;
using evnf::lb::rewrite;
using evnf::lb::Share;
using evnf::lb::Table;

namespace {

using Counts = std::map<std::uint16_t, std::uint32_t>;

Counts count(const Table& table)
{
    Counts counts;
    for (const auto owner : table) ++counts[owner];
    return counts;
}

std::uint32_t moved(const Table& from, const Table& to)
{
    REQUIRE(from.size() == to.size());
    std::uint32_t slots = 0;
    for (std::size_t i = 0; i < from.size(); ++i) slots += from[i] != to[i];
    return slots;
}

/// The plain model: what each backend has too much must move, and nothing else.
std::uint32_t surplus(const Counts& from, const Counts& to)
{
    std::uint32_t slots = 0;
    for (const auto& [backend, had] : from) {
        const auto has = to.find(backend);
        const auto wanted = has == to.end() ? 0 : has->second;
        slots += had > wanted ? had - wanted : 0;
    }
    return slots;
}

} // namespace

TEST_CASE("lb selection: three equal servers share every slot")
{
    CHECK(apportion({100, 100, 100}, 4096) == std::vector<std::uint32_t>{1366, 1365, 1365});
}

TEST_CASE("lb selection: no weight gives no slots, and no division by zero")
{
    CHECK(apportion({0, 0}, 4096) == std::vector<std::uint32_t>{0, 0});
    CHECK(apportion({}, 4096).empty());
    CHECK(count(rewrite({}, {{1, 0}, {2, 0}}, 4096)) == Counts{{LB_NO_BACKEND, 4096}});
}

TEST_CASE("lb selection: a server without weight keeps no slot")
{
    const auto before = rewrite({}, {{1, 100}, {2, 100}}, 4096);
    CHECK(count(rewrite(before, {{1, 100}, {2, 0}}, 4096)) == Counts{{1, 4096}});
}

TEST_CASE("lb selection: every count is the exact share rounded, and all add up")
{
    const auto seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random{seed};
    for (int round = 0; round < 500; ++round) {
        std::vector<std::uint32_t> weights(1 + random() % 50);
        for (auto& weight : weights) weight = random() % 3 ? random() % 10'001 : random() % 3;
        const std::uint32_t slots = 4096 + random() % 61'441;
        const auto total = std::accumulate(weights.begin(), weights.end(), 0.0);
        const auto counts = apportion(weights, slots);
        REQUIRE(std::accumulate(counts.begin(), counts.end(), 0u) == (total > 0 ? slots : 0));
        for (std::size_t i = 0; i < weights.size() && total > 0; ++i) {
            const double exact = weights[i] * double(slots) / total;
            REQUIRE(counts[i] >= std::floor(exact - 1e-6));
            REQUIRE(counts[i] <= std::ceil(exact + 1e-6));
        }
    }
}

TEST_CASE("lb selection: random changes of servers and weights move exactly the surplus")
{
    const auto seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random{seed};
    std::map<std::uint16_t, std::uint32_t> weights{{0, 100}, {1, 100}};
    Table table;
    for (int round = 0; round < 300; ++round) {
        const auto backend = static_cast<std::uint16_t>(random() % 20);
        if (random() % 3 == 0)
            weights.erase(backend);
        else
            weights[backend] = random() % 4 == 0 ? 0 : random() % 1000;
        std::vector<Share> shares;
        std::vector<std::uint32_t> list;
        for (const auto& [index, weight] : weights) shares.push_back({index, weight}), list.push_back(weight);
        const auto counts = apportion(list, 4096);
        Counts wanted;
        for (std::size_t i = 0; i < shares.size(); ++i)
            if (counts[i] > 0) wanted[shares[i].backend] = counts[i];
        if (wanted.empty()) wanted[LB_NO_BACKEND] = 4096;

        const auto next = rewrite(table, shares, 4096);
        REQUIRE(count(next) == wanted);
        if (!table.empty()) REQUIRE(moved(table, next) == surplus(count(table), wanted));
        table = next;
    }
}

TEST_CASE("lb selection: a million changes move exactly the surplus, each of them")
{
    constexpr std::uint32_t slots = 256;
    constexpr std::size_t backends = 12;
    const auto seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random{seed};
    std::vector<Share> shares;
    for (std::uint16_t i = 0; i < backends; ++i) shares.push_back({i, 100});
    auto table = rewrite({}, shares, slots);
    std::vector<int> had(backends + 1);
    for (const auto owner : table) ++had[owner];
    for (int change = 0; change < 1'000'000; ++change) {
        // Weights move, backends go and come, alone and several at a time, and now and then none is left.
        for (auto count = 1 + random() % 3; count > 0; --count)
            shares[random() % backends].weight = random() % 4 ? random() % 1000 : 0;
        if (random() % 1000 == 0)
            for (auto& share : shares) share.weight = 0;
        const auto next = rewrite(table, shares, slots);
        std::vector<int> has(backends + 1); // the last is of slots without an owner
        int moved = 0, surplus = 0;
        for (std::uint32_t slot = 0; slot < slots; ++slot) {
            ++has[std::min<std::size_t>(next[slot], backends)];
            moved += next[slot] != table[slot];
        }
        for (std::size_t i = 0; i <= backends; ++i) surplus += std::max(0, had[i] - has[i]);
        if (moved != surplus) FAIL("change " << change << " moved " << moved << " slots, not " << surplus);
        had = has;
        table = next;
    }
}

TEST_CASE("lb selection: unchanged weights move nothing, in whatever order they come")
{
    const auto table = rewrite({}, {{1, 100}, {2, 70}, {3, 100}}, 4096);
    CHECK(rewrite(table, {{1, 100}, {2, 70}, {3, 100}}, 4096) == table);
    CHECK(rewrite(table, {{2, 140}, {1, 200}, {3, 200}}, 4096) == table);
}

TEST_CASE("lb selection: a server that goes gives up its own slots and no other moves")
{
    const auto before = rewrite({}, {{1, 100}, {2, 100}, {3, 100}, {4, 100}}, 4096);
    const auto after = rewrite(before, {{1, 100}, {2, 100}, {4, 100}}, 4096);
    for (std::size_t slot = 0; slot < before.size(); ++slot)
        if (before[slot] != 3) REQUIRE(after[slot] == before[slot]);
    CHECK(moved(before, after) == 1024);
}

TEST_CASE("lb selection: a server that comes takes its share and no slot moves between the others")
{
    const auto before = rewrite({}, {{1, 100}, {2, 100}, {3, 100}}, 4096);
    const auto after = rewrite(before, {{1, 100}, {2, 100}, {3, 100}, {4, 100}}, 4096);
    for (std::size_t slot = 0; slot < before.size(); ++slot)
        if (after[slot] != 4) REQUIRE(after[slot] == before[slot]);
    CHECK(count(after)[4] == 1024);
}

TEST_CASE("lb selection: the same settings give the same table, which mixes the servers")
{
    const auto table = rewrite({}, {{1, 100}, {2, 100}}, 4096);
    CHECK(rewrite({}, {{1, 100}, {2, 100}}, 4096) == table);
    // A fair coin's neighbours differ half of the time.
    std::size_t changes = 0;
    for (std::size_t slot = 1; slot < table.size(); ++slot) changes += table[slot] != table[slot - 1];
    CHECK(changes > 1800);
    CHECK(changes < 2300);
}

TEST_CASE("lb selection: a table that grows or shrinks has exact shares again")
{
    const auto table = rewrite({}, {{1, 100}, {2, 300}}, 4096);
    CHECK(count(rewrite(table, {{1, 100}, {2, 300}}, 8192)) == Counts{{1, 2048}, {2, 6144}});
    CHECK(count(rewrite(rewrite({}, {{1, 100}, {2, 300}}, 8192), {{1, 100}, {2, 300}}, 4096)) ==
          Counts{{1, 1024}, {2, 3072}});
}
