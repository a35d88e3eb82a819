// SPDX-License-Identifier: MIT
/// The fast path's clock, for user space.
#pragma once

#include <chrono>
#include <cstdint>

namespace evnf {

/// Jiffies, extrapolated from one reading in the kernel. Thread-safe after construction.
class FastPathClock {
public:
    /// Reads the kernel's clocks twice, some milliseconds apart, to learn the length of a jiffy.
    FastPathClock();

    std::uint64_t jiffies() const;
    unsigned jiffies_per_second() const noexcept { return hz_; }

private:
    std::uint64_t jiffies_at_start_;
    std::uint64_t ns_at_start_;
    unsigned hz_;
};

} // namespace evnf
