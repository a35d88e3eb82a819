// SPDX-License-Identifier: MIT
#include <boost/asio/post.hpp>
#include <stdexcept>

#include "good.hpp"

/// A handler that fails once; `query` answers whether the next one ran.
struct ThrowsOnce : Good {
    explicit ThrowsOnce(evnf::Host& host) : Good{host}, host_{host} {}
    void start() override
    {
        boost::asio::post(host_.executor(), [] { throw std::runtime_error{"no such luck"}; });
        boost::asio::post(host_.executor(), [this] { went_on_ = true; });
    }
    boost::json::value query(std::string_view, const std::vector<std::string>&) override { return went_on_; }

private:
    evnf::Host& host_;
    bool went_on_ = false;
};

EVNF_PLUGIN("throws_once", ThrowsOnce, 1, nullptr, evnf::OnError::skip)
