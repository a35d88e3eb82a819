// SPDX-License-Identifier: MIT
/// Notices when a thread spends too much time in one step of its work.
#pragma once

#include <chrono>
#include <cstdint>

namespace evnf::dpi {

/// What one thread does, looked at by another from time to time. What counts is CPU time of the thread that is looked at:
/// a machine that was suspended or is overloaded is no reason to call it stuck.
class CpuTimeWatch {
public:
    /// `step`: an odd number, another one for each step, while the thread is in one. `used`: the thread's CPU time. True
    /// when it has used `limit` since it was first seen in this step.
    bool look(std::uint64_t step, std::chrono::nanoseconds used, std::chrono::nanoseconds limit)
    {
        if (step != step_) {
            step_ = step;
            used_before_ = used;
        }
        return step % 2 == 1 && used - used_before_ >= limit;
    }

private:
    std::uint64_t step_ = 0;
    std::chrono::nanoseconds used_before_{0};
};

} // namespace evnf::dpi
