// SPDX-License-Identifier: MIT
/// Random choices, as one reads them.
#pragma once

#include <random>
#include <vector>

namespace evnf::test {

class Dice {
public:
    explicit Dice(std::mt19937& random) : random_{random} {}

    unsigned below(unsigned count) { return std::uniform_int_distribution<unsigned>{0, count - 1}(random_); }
    bool chance(unsigned percent) { return below(100) < percent; }
    template <class T>
    T one_of(const std::vector<T>& list)
    {
        return list[below(static_cast<unsigned>(list.size()))];
    }
    /// One to three of them.
    template <class T>
    std::vector<T> some_of(const std::vector<T>& list)
    {
        std::vector<T> some;
        for (unsigned n = 1 + below(3); n > 0; --n) some.push_back(one_of(list));
        return some;
    }

private:
    std::mt19937& random_;
};

} // namespace evnf::test
