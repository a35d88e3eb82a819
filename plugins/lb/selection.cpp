// SPDX-License-Identifier: MIT
#include "selection.hpp"

#include <algorithm>
#include <numeric>
#include <random>

#include "lb_shared.h"

namespace evnf::lb {

std::vector<std::uint32_t> apportion(const std::vector<std::uint32_t>& weights, std::uint32_t slots)
{
    std::vector<std::uint32_t> counts(weights.size());
    const auto total = std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
    if (total == 0) return counts;
    std::vector<std::uint64_t> remainders(weights.size());
    std::uint32_t given = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        const auto exact = std::uint64_t{weights[i]} * slots;
        counts[i] = static_cast<std::uint32_t>(exact / total);
        remainders[i] = exact % total;
        given += counts[i];
    }
    std::vector<std::size_t> order(weights.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return remainders[a] > remainders[b]; });
    for (std::size_t i = 0; given < slots; ++i, ++given) ++counts[order[i]];
    return counts;
}

namespace {

/// Fisher-Yates with a generator of our own choice: the same list gives the same order everywhere.
void shuffle(Table& list)
{
    std::mt19937 random{5489};
    for (std::size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[random() % i]);
}

} // namespace

Table rewrite(const Table& previous, const std::vector<Share>& shares, std::uint32_t slots)
{
    std::vector<std::uint32_t> weights;
    for (const auto& share : shares) weights.push_back(share.weight);
    const auto counts = apportion(weights, slots);
    std::vector<std::uint32_t> owed; // by backend
    for (std::size_t i = 0; i < shares.size(); ++i) {
        owed.resize(std::max<std::size_t>(owed.size(), shares[i].backend + 1u));
        owed[shares[i].backend] = counts[i];
    }

    Table table = previous;
    table.resize(slots, LB_NO_BACKEND);
    std::vector<std::uint32_t> free;
    for (std::uint32_t slot = 0; slot < slots; ++slot) {
        if (table[slot] < owed.size() && owed[table[slot]] > 0) {
            --owed[table[slot]];
        } else {
            table[slot] = LB_NO_BACKEND;
            free.push_back(slot);
        }
    }
    Table receivers;
    for (std::size_t backend = 0; backend < owed.size(); ++backend)
        receivers.insert(receivers.end(), owed[backend], static_cast<std::uint16_t>(backend));
    shuffle(receivers);
    for (std::size_t i = 0; i < receivers.size(); ++i) table[free[i]] = receivers[i];
    return table;
}

} // namespace evnf::lb
