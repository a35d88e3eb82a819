// SPDX-License-Identifier: MIT
#include "limits.hpp"

#include <algorithm>
#include <ctime>

namespace evnf::fw {

namespace {

constexpr std::uint64_t kLinger = 1'000'000'000;

/// bpf_ktime_get_ns(), the clock of limits.
std::uint64_t now()
{
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

} // namespace

/// What is due in the past says no more than no entry does. It is left for a moment more, in which the fast path may be
/// about to use it.
bool Limits::expire_some()
{
    const auto moment = now();
    return !due_.for_each_part<fw_limited, std::uint64_t>(cursor_, [&](const fw_limited& key, std::uint64_t due) {
        if (due + kLinger < moment) due_.erase(key);
    });
}

void forget_limits(const MapRef& due, const std::vector<std::uint32_t>& slots)
{
    if (slots.empty()) return;
    auto sorted = slots;
    std::sort(sorted.begin(), sorted.end());
    std::vector<fw_limited> keys;
    due.for_each<fw_limited, std::uint64_t>([&](const fw_limited& key, std::uint64_t) {
        if (std::binary_search(sorted.begin(), sorted.end(), key.slot)) keys.push_back(key);
    });
    for (const auto& key : keys) due.erase(key);
}

} // namespace evnf::fw
