// SPDX-License-Identifier: MIT
#include <boost/asio/steady_timer.hpp>
#include <stdexcept>

#include "good.hpp"

/// Every tick throws; `query` answers how many there were.
struct ThrowsInTimer : Good {
    explicit ThrowsInTimer(evnf::Host& host) : Good{host}, timer_{host.executor()} {}
    void start() override { wait(); }
    void stop() noexcept override { timer_.cancel(); }
    boost::json::value query(std::string_view, const std::vector<std::string>&) override { return ticks_; }

private:
    void wait()
    {
        timer_.expires_after(std::chrono::milliseconds{1});
        timer_.async_wait([this](boost::system::error_code error) {
            if (error) return;
            ++ticks_;
            wait();
            throw std::runtime_error{"no such luck"};
        });
    }

    boost::asio::steady_timer timer_;
    unsigned ticks_ = 0;
};

EVNF_PLUGIN("throws_in_timer", ThrowsInTimer, 1, nullptr, evnf::OnError::skip)
