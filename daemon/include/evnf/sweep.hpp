// SPDX-License-Identifier: MIT
/// Walks through large tables on the control loop, in turns that do not hold it for long.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <string>

#include <evnf/plugin.hpp>

namespace evnf {

/// Calls a function again and again, for expiry: 16 times a turn, a turn each 100 ms, and a second of rest after a
/// whole walk. All on the control thread. What the function throws is logged, and the walk begins anew.
class Sweep {
public:
    /// `what` is it that fails, for the log. `part` looks at a bounded number of entries, and is true at the end of a walk.
    Sweep(Host& host, std::string what, std::function<bool()> part)
        : host_{host}, what_{std::move(what)}, part_{std::move(part)}, timer_{host.executor()}
    {
    }

    void start();
    void stop() noexcept;

private:
    void after(std::chrono::milliseconds time);
    void turn();

    Host& host_;
    std::string what_;
    std::function<bool()> part_;
    boost::asio::steady_timer timer_;
    bool stopped_ = false;
};

} // namespace evnf
