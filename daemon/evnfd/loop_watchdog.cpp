// SPDX-License-Identifier: MIT
#include "loop_watchdog.hpp"

#include <boost/asio/post.hpp>

namespace evnf {

using std::chrono::milliseconds;

std::string LoopActivity::now() const
{
    const std::lock_guard lock{mutex_};
    return what_;
}

std::string LoopActivity::exchange(std::string what)
{
    const std::lock_guard lock{mutex_};
    return std::exchange(what_, std::move(what));
}

LoopWatchdog::LoopWatchdog(boost::asio::any_io_executor loop, std::shared_ptr<const LoopActivity> activity,
                           std::shared_ptr<spdlog::logger> log, milliseconds limit)
    : loop_{std::move(loop)},
      activity_{std::move(activity)},
      log_{std::move(log)},
      limit_{limit},
      thread_{[this](std::stop_token stop) { watch(stop); }}
{
}

LoopWatchdog::Record LoopWatchdog::record() const
{
    const std::lock_guard lock{mutex_};
    return record_;
}

void LoopWatchdog::watch(std::stop_token stop)
{
    while (!stop.stop_requested()) {
        const auto pulse = std::make_shared<std::atomic<bool>>(false);
        boost::asio::post(loop_, [pulse] { *pulse = true; });
        wait_for(pulse, stop);
    }
}

/// Returns when the loop has come to the pulse, however long that takes.
void LoopWatchdog::wait_for(const Pulse& pulse, std::stop_token stop)
{
    const auto since = Clock::now();
    const auto waited = [since] { return std::chrono::duration_cast<milliseconds>(Clock::now() - since); };
    bool stalled = false;
    do {
        sleep(stop);
        if (stalled || *pulse || waited() < limit_) continue;
        stalled = true;
        const auto what = activity_->now();
        log_->error("the loop has not turned for {} ms: held by {}", waited().count(), what.empty() ? "the daemon" : what);
    } while (!*pulse && !stop.stop_requested());
    if (!stalled || !*pulse) return;
    log_->error("the loop turns again, after {} ms", waited().count());
    note_stall(waited());
}

void LoopWatchdog::sleep(std::stop_token stop)
{
    std::unique_lock lock{mutex_};
    stopped_.wait_for(lock, stop, limit_ / 8, [] { return false; });
}

void LoopWatchdog::note_stall(milliseconds time)
{
    const std::lock_guard lock{mutex_};
    ++record_.stalls;
    record_.longest = std::max(record_.longest, time);
}

} // namespace evnf
