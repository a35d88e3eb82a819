// SPDX-License-Identifier: MIT
/// Walks through large tables on the control loop, in turns that do not hold it for long.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <string>

#include <evnf/plugin.hpp>

namespace evnf {

/// Calls a function again and again, for expiry: 16 times a turn, a turn each 100 ms, and a rest after a whole walk, a
/// second unless set_rest() says otherwise. All on the control thread. What the function throws is logged, and the walk begins anew.
class Sweep {
public:
    /// `what` is it that fails, for the log. `part` looks at a bounded number of entries, and is true at the end of a walk.
    Sweep(Host& host, std::string what, std::function<bool()> part)
        : host_{host}, what_{std::move(what)}, part_{std::move(part)}, timer_{host.executor()}
    {
    }

    void start();
    void stop() noexcept;
    void set_rest(std::chrono::milliseconds rest) noexcept { rest_ = rest; }

private:
    void after(std::chrono::milliseconds time);
    void turn();

    Host& host_;
    std::string what_;
    std::function<bool()> part_;
    boost::asio::steady_timer timer_;
    std::chrono::milliseconds rest_{1000};
    bool stopped_ = false;
};

} // namespace evnf
