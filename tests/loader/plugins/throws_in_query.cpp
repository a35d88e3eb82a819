// SPDX-License-Identifier: MIT
#include <stdexcept>

#include "good.hpp"

struct ThrowsInQuery : Good {
    using Good::Good;
    boost::json::value query(std::string_view, const std::vector<std::string>&) override
    {
        throw 42; // not even a std::exception
    }
};

EVNF_PLUGIN("throws_in_query", ThrowsInQuery, 1, nullptr, evnf::OnError::skip)
