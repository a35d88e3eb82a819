// SPDX-License-Identifier: MIT
#include <boost/asio/post.hpp>
#include <cstdlib>
#include <stdexcept>

#include "good.hpp"

struct ThrowsInCreate : Good {
    explicit ThrowsInCreate(evnf::Host& host) : Good{host}
    {
        boost::asio::post(host.executor(), [] { std::abort(); });
        throw std::runtime_error{"no such luck"};
    }
};

EVNF_PLUGIN("throws_in_create", ThrowsInCreate, 1, nullptr, evnf::OnError::skip)
