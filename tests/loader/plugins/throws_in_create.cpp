// SPDX-License-Identifier: MIT
#include <stdexcept>

#include "good.hpp"

struct ThrowsInCreate : Good {
    explicit ThrowsInCreate(evnf::Host& host) : Good{host} { throw std::runtime_error{"no such luck"}; }
};

EVNF_PLUGIN("throws_in_create", ThrowsInCreate, 1, nullptr, evnf::OnError::skip)
