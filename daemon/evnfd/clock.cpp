// SPDX-License-Identifier: MIT
#include "clock.hpp"

#include <time.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <thread>

#include <evnf/plugin.hpp>

#include "clock_bpf.skel.h" // needs evnf_clock
#include "errno_hint.hpp"

namespace evnf {

namespace {

/// Both clocks at the instant at which jiffies changes, so that the phase within a jiffy is known.
evnf_clock at_a_tick(clock_bpf& skeleton)
{
    std::array<char, 64> frame{};
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = frame.size());
    const int program = bpf_program__fd(skeleton.progs.evnf_clock);
    evnf_clock first{}, now{};
    do {
        if (const int error = bpf_prog_test_run_opts(program, &options))
            throw_errno(-error, "cannot read the clock of the kernel (BPF_PROG_TEST_RUN)");
        now = skeleton.bss->evnf_now;
        if (first.jiffies == 0) first = now;
    } while (now.jiffies == first.jiffies);
    return now;
}

/// CONFIG_HZ is one of these.
unsigned nearest_hz(double measured)
{
    unsigned best = 100;
    for (unsigned hz : {100u, 250u, 300u, 1000u})
        if (std::abs(hz - measured) < std::abs(best - measured)) best = hz;
    return best;
}

} // namespace

FastPathClock::FastPathClock()
{
    SkeletonFastPath<clock_bpf> clock;
    if (const int error = clock_bpf::load(&clock.skeleton())) throw_with_hint(-error, "cannot load the clock program");
    const evnf_clock first = at_a_tick(clock.skeleton());
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    const evnf_clock second = at_a_tick(clock.skeleton());
    const double ns = static_cast<double>(second.ktime_ns - first.ktime_ns);
    hz_ = nearest_hz(static_cast<double>(second.jiffies - first.jiffies) * 1e9 / ns);
    jiffies_at_start_ = second.jiffies;
    ns_at_start_ = second.ktime_ns;
}

std::uint64_t FastPathClock::jiffies() const
{
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const auto ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
    return jiffies_at_start_ + (ns - ns_at_start_) / (1'000'000'000u / hz_);
}

} // namespace evnf
