// SPDX-License-Identifier: MIT
/// Sets of numbers as sorted ranges that neither overlap nor touch; both ends of a range are in it.
#pragma once

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace evnf::fw {

template <class Number>
using Ranges = std::vector<std::pair<Number, Number>>;

template <class Number>
Ranges<Number> all_numbers()
{
    return {{Number{0}, static_cast<Number>(~Number{0})}};
}

template <class Number>
Ranges<Number> normalised(Ranges<Number> ranges)
{
    if (!std::is_sorted(ranges.begin(), ranges.end())) std::sort(ranges.begin(), ranges.end());
    Ranges<Number> merged;
    for (const auto& range : ranges) {
        const bool touches = !merged.empty() && (range.first <= merged.back().second || range.first - merged.back().second == 1);
        if (touches)
            merged.back().second = std::max(merged.back().second, range.second);
        else
            merged.push_back(range);
    }
    return merged;
}

/// What is in none of the normalised ranges.
template <class Number>
Ranges<Number> complement(const Ranges<Number>& ranges)
{
    constexpr Number last = static_cast<Number>(~Number{0});
    Ranges<Number> gaps;
    Number next = 0;
    for (const auto& [begin, end] : ranges) {
        if (begin > next) gaps.emplace_back(next, static_cast<Number>(begin - 1));
        if (end == last) return gaps;
        next = static_cast<Number>(end + 1);
    }
    gaps.emplace_back(next, last);
    return gaps;
}

/// Whether `whole` has every number of `part`; both are normalised.
template <class Number>
bool contains(const Ranges<Number>& whole, const Ranges<Number>& part)
{
    return std::all_of(part.begin(), part.end(), [&](const auto& range) {
        const auto after = std::upper_bound(whole.begin(), whole.end(), range.first,
                                            [](const Number& number, const auto& candidate) { return number < candidate.first; });
        return after != whole.begin() && std::prev(after)->second >= range.second;
    });
}

} // namespace evnf::fw
