// SPDX-License-Identifier: MIT
#include "loop_watchdog.hpp"

#include <boost/asio/post.hpp>

namespace evnf {

using std::chrono::milliseconds;

namespace {

constexpr std::chrono::seconds kWindow{10};

} // namespace

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
    auto record = record_;
    record.late = std::max(late_, late_before_);
    return record;
}

void LoopWatchdog::watch(std::stop_token stop)
{
    while (!stop.stop_requested()) {
        const auto pulse = std::make_shared<Pulse>();
        boost::asio::post(loop_, [pulse, sent = Clock::now()] {
            pulse->waited = Clock::now() - sent;
            pulse->seen = true;
        });
        wait_for(pulse, stop);
        if (pulse->seen) note_wait(pulse->waited);
    }
}

/// Returns when the loop has come to the pulse, however long that takes.
void LoopWatchdog::wait_for(const std::shared_ptr<Pulse>& pulse, std::stop_token stop)
{
    const auto since = Clock::now();
    const auto waited = [since] { return std::chrono::duration_cast<milliseconds>(Clock::now() - since); };
    bool stalled = false;
    do {
        sleep(stop);
        if (stalled || pulse->seen || waited() < limit_) continue;
        stalled = true;
        const auto what = activity_->now();
        log_->error("the loop has not turned for {} ms: held by {}", waited().count(), what.empty() ? "the daemon" : what);
    } while (!pulse->seen && !stop.stop_requested());
    if (!stalled || !pulse->seen) return;
    log_->error("the loop turns again, after {} ms", waited().count());
    note_stall(waited());
}

void LoopWatchdog::sleep(std::stop_token stop)
{
    std::unique_lock lock{mutex_};
    stopped_.wait_for(lock, stop, limit_ / 20, [] { return false; });
}

void LoopWatchdog::note_stall(milliseconds time)
{
    const std::lock_guard lock{mutex_};
    ++record_.stalls;
    record_.longest = std::max(record_.longest, time);
}

void LoopWatchdog::note_wait(Clock::duration time)
{
    const std::lock_guard lock{mutex_};
    if (const auto now = Clock::now(); now - window_ > kWindow) {
        window_ = now;
        late_before_ = std::exchange(late_, std::chrono::microseconds{0});
    }
    late_ = std::max(late_, std::chrono::duration_cast<std::chrono::microseconds>(time));
}

} // namespace evnf
