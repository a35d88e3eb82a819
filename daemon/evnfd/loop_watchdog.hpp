// SPDX-License-Identifier: MIT
/// Notices when the control loop does not turn, and says what holds it.
#pragma once

#include <spdlog/logger.h>

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace evnf {

/// What the loop is doing. Set on its thread, read by the watchdog.
class LoopActivity {
public:
    /// While it lives, the loop is doing this; then again what it did before.
    class Scope {
    public:
        Scope(LoopActivity& activity, std::string what) : activity_{activity}, before_{activity.exchange(std::move(what))} {}
        ~Scope() { activity_.exchange(std::move(before_)); }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

    private:
        LoopActivity& activity_;
        std::string before_;
    };

    /// Empty: work of the daemon that has no name.
    std::string now() const;

private:
    std::string exchange(std::string what);

    mutable std::mutex mutex_;
    std::string what_;
};

class LoopWatchdog {
public:
    struct Record {
        unsigned stalls = 0;
        std::chrono::milliseconds longest{0};
        std::chrono::microseconds late{0}; ///< the longest that anything had to wait for the loop, in the last 10 to 20 s
    };

    /// Begins to watch: the loop must run from now on. Logs an error when it has not turned for `limit`, and again
    /// when it turns.
    LoopWatchdog(boost::asio::any_io_executor loop, std::shared_ptr<const LoopActivity> activity,
                 std::shared_ptr<spdlog::logger> log, std::chrono::milliseconds limit = std::chrono::seconds{2});

    Record record() const;

private:
    using Clock = std::chrono::steady_clock;
    /// What the loop is asked to do in each turn of the watchdog: shared, for the loop may come to it when we are gone.
    struct Pulse {
        Clock::duration waited{}; ///< for the loop; before `seen`
        std::atomic<bool> seen = false;
    };

    void watch(std::stop_token stop);
    void wait_for(const std::shared_ptr<Pulse>& pulse, std::stop_token stop);
    void sleep(std::stop_token stop);
    void note_stall(std::chrono::milliseconds time);
    void note_wait(Clock::duration time);

    boost::asio::any_io_executor loop_;
    std::shared_ptr<const LoopActivity> activity_;
    std::shared_ptr<spdlog::logger> log_;
    std::chrono::milliseconds limit_;
    mutable std::mutex mutex_;
    std::condition_variable_any stopped_;
    Record record_;
    Clock::time_point window_ = Clock::now();
    std::chrono::microseconds late_{0}, late_before_{0}; ///< in this window and in the one before
    std::jthread thread_; // last: it uses the rest
};

} // namespace evnf
