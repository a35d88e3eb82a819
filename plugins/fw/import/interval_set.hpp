// SPDX-License-Identifier: MIT
/// Sets of numbers from 0 to a bound, as intervals: closed under intersection, union and complement.
#pragma once

#include <algorithm>
#include <vector>

namespace evnf::fw::iptables {

/// Both ends are in it.
template <class T>
struct Interval {
    T first, last;
    bool operator==(const Interval&) const = default;
};

template <class T>
class IntervalSet {
public:
    static IntervalSet all(T bound) { return IntervalSet{bound, {{0, bound}}}; }
    static IntervalSet none(T bound) { return IntervalSet{bound, {}}; }
    static IntervalSet of(T bound, T first, T last) { return IntervalSet{bound, {{first, last}}}; }

    bool empty() const { return intervals_.empty(); }
    bool is_all() const { return intervals_.size() == 1 && intervals_[0].first == 0 && intervals_[0].last == bound_; }
    /// Sorted; there is a gap between each and the next.
    const std::vector<Interval<T>>& intervals() const { return intervals_; }
    bool operator==(const IntervalSet&) const = default;

    bool intersects(const IntervalSet& other) const
    {
        for (auto a = intervals_.begin(), b = other.intervals_.begin(); a != intervals_.end() && b != other.intervals_.end();) {
            if (std::max(a->first, b->first) <= std::min(a->last, b->last)) return true;
            (a->last < b->last ? a : b)++;
        }
        return false;
    }

    /// True where all of `other` is in it.
    bool includes(const IntervalSet& other) const
    {
        auto a = intervals_.begin();
        for (const auto& b : other.intervals_) {
            while (a != intervals_.end() && a->last < b.first) ++a;
            if (a == intervals_.end() || a->first > b.first || a->last < b.last) return false;
        }
        return true;
    }

    void add(T first, T last)
    {
        intervals_.push_back({first, last});
        std::sort(intervals_.begin(), intervals_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
        std::vector<Interval<T>> merged;
        for (const auto& next : intervals_) {
            if (!merged.empty() && (next.first <= merged.back().last || next.first - 1 == merged.back().last))
                merged.back().last = std::max(merged.back().last, next.last);
            else
                merged.push_back(next);
        }
        intervals_ = std::move(merged);
    }

    IntervalSet operator&(const IntervalSet& other) const
    {
        IntervalSet both = none(bound_);
        for (auto a = intervals_.begin(), b = other.intervals_.begin(); a != intervals_.end() && b != other.intervals_.end();) {
            const T first = std::max(a->first, b->first), last = std::min(a->last, b->last);
            if (first <= last) both.intervals_.push_back({first, last});
            (a->last < b->last ? a : b)++;
        }
        return both;
    }

    IntervalSet operator~() const
    {
        IntervalSet others = none(bound_);
        T next = 0;
        for (const auto& interval : intervals_) {
            if (interval.first > next) others.intervals_.push_back({next, interval.first - 1});
            if (interval.last == bound_) return others;
            next = interval.last + 1;
        }
        others.intervals_.push_back({next, bound_});
        return others;
    }

private:
    IntervalSet(T bound, std::vector<Interval<T>> intervals) : bound_{bound}, intervals_{std::move(intervals)} {}

    T bound_;
    std::vector<Interval<T>> intervals_;
};

} // namespace evnf::fw::iptables
