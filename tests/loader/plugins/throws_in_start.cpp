// SPDX-License-Identifier: MIT
#include <stdexcept>

#include "good.hpp"

struct ThrowsInStart : Good {
    using Good::Good;
    void start() override { throw std::runtime_error{"no such luck"}; }
};

EVNF_PLUGIN("throws_in_start", ThrowsInStart, 1, nullptr, evnf::OnError::skip)
