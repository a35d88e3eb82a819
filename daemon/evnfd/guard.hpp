// SPDX-License-Identifier: MIT
/// The boundary to a plugin's code that runs by itself: ring consumers, and handlers on Host::executor(). Whatever
/// it throws ends here, counted and named; a plugin that fails again and again is put in quarantine.
#pragma once

#include <spdlog/logger.h>

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "loop_watchdog.hpp"

namespace evnf {

/// So many failures within such a time, and nothing of the plugin runs by itself any more.
inline constexpr std::size_t kQuarantineFailures = 10;
inline constexpr std::chrono::seconds kQuarantineWindow{60};

/// Thread-safe. Shared by all that may still hold a handler of the plugin when the plugin is gone.
class Guard {
public:
    Guard(std::string instance, std::shared_ptr<spdlog::logger> log, std::shared_ptr<LoopActivity> activity);

    /// Runs `call`, unless the plugin is in quarantine or gone. On any thread.
    template <class Call>
    void run(const char* what, Call&& call) noexcept
    {
        if (!open()) return;
        try {
            call();
        } catch (const std::exception& error) {
            note_failure(what, error.what());
        } catch (...) {
            note_failure(what, "threw what is no std::exception");
        }
    }
    /// The same on the loop's thread, where the watchdog wants to know what runs.
    template <class Call>
    void run_on_loop(const char* what, Call&& call) noexcept
    {
        const LoopActivity::Scope scope{*activity_, instance_ + ": " + what};
        run(what, std::forward<Call>(call));
    }

    /// False from the quarantine on, or when the plugin is gone.
    bool open() const noexcept { return !closed_ && !quarantined_; }
    bool quarantined() const noexcept { return quarantined_; }
    std::size_t failures() const;
    /// Why the plugin does not work in full, or empty.
    std::string trouble() const;

    /// A new configuration begins with a clean record. Does not end a quarantine: the plugin's timers are gone, only
    /// another instance can take over.
    void forgive();
    /// Held by the plugin's owner: when it goes, handlers that still wait are not to run.
    class Closing {
    public:
        explicit Closing(Guard& guard) : guard_{guard} {}
        ~Closing() { guard_.closed_ = true; }
        Closing(const Closing&) = delete;
        Closing& operator=(const Closing&) = delete;

    private:
        Guard& guard_;
    };

private:
    using Clock = std::chrono::steady_clock;

    void note_failure(const char* what, const std::string& why) noexcept;

    const std::string instance_;
    std::shared_ptr<spdlog::logger> log_;
    std::shared_ptr<LoopActivity> activity_;
    std::atomic<bool> closed_{false}, quarantined_{false};
    mutable std::mutex mutex_;
    std::size_t failures_ = 0;
    std::string last_;                ///< what failed last, and why
    std::deque<Clock::time_point> recent_; ///< at most kQuarantineFailures
};

/// The loop's executor for a plugin: runs each handler under the plugin's guard.
class GuardedExecutor {
public:
    GuardedExecutor(boost::asio::any_io_executor loop, std::shared_ptr<Guard> guard) noexcept
        : loop_{std::move(loop)}, guard_{std::move(guard)}
    {
    }

    template <class Handler>
    void execute(Handler handler) const
    {
        loop_.execute([guard = guard_, handler = std::move(handler)]() mutable { guard->run_on_loop("a handler", handler); });
    }

    // What makes it an executor of Asio's: its properties are the loop's.
    template <class Property>
        requires boost::asio::can_query_v<const boost::asio::any_io_executor&, Property>
    decltype(auto) query(const Property& property) const
    {
        return boost::asio::query(loop_, property);
    }
    template <class Property>
        requires boost::asio::can_require_v<const boost::asio::any_io_executor&, Property>
    GuardedExecutor require(const Property& property) const
    {
        return {boost::asio::require(loop_, property), guard_};
    }
    template <class Property>
        requires boost::asio::can_prefer_v<const boost::asio::any_io_executor&, Property>
    GuardedExecutor prefer(const Property& property) const
    {
        return {boost::asio::prefer(loop_, property), guard_};
    }
    bool operator==(const GuardedExecutor& other) const noexcept
    {
        return loop_ == other.loop_ && guard_ == other.guard_;
    }
    bool operator!=(const GuardedExecutor& other) const noexcept { return !(*this == other); }

private:
    boost::asio::any_io_executor loop_;
    std::shared_ptr<Guard> guard_;
};

} // namespace evnf
