// SPDX-License-Identifier: MIT
#include "guard.hpp"

#include <fmt/format.h>

namespace evnf {

Guard::Guard(std::string instance, std::shared_ptr<spdlog::logger> log, std::shared_ptr<LoopActivity> activity)
    : instance_{std::move(instance)}, log_{std::move(log)}, activity_{std::move(activity)}
{
}

std::size_t Guard::failures() const
{
    const std::lock_guard lock{mutex_};
    return failures_;
}

std::string Guard::trouble() const
{
    const std::lock_guard lock{mutex_};
    if (failures_ == 0) return {};
    const auto count = fmt::format("{} failure{}, the last: {}", failures_, failures_ == 1 ? "" : "s", last_);
    return quarantined_ ? "quarantined until a reload: " + count : count;
}

void Guard::forgive()
{
    const std::lock_guard lock{mutex_};
    if (quarantined_) return;
    failures_ = 0;
    last_.clear();
    recent_.clear();
}

void Guard::note_failure(const char* what, const std::string& why) noexcept
{
    const std::lock_guard lock{mutex_};
    const auto now = Clock::now();
    const auto failure = fmt::format("{} failed: {}", what, why);
    // One line per cause: what always throws would flood the log.
    if (failure != last_) log_->error("{}", failure);
    last_ = failure;
    ++failures_;
    recent_.push_back(now);
    if (recent_.size() > kQuarantineFailures) recent_.pop_front();
    if (quarantined_ || recent_.size() < kQuarantineFailures || now - recent_.front() > kQuarantineWindow) return;
    quarantined_ = true;
    log_->error("quarantined after {} failures within {} s: its slow path rests until a reload, its fast path goes on",
                kQuarantineFailures, kQuarantineWindow.count());
}

} // namespace evnf
