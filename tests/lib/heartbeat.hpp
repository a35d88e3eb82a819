// SPDX-License-Identifier: MIT
/// The slow path's life, as the fast path sees it.
#pragma once

#include <limits>

#include "chain.hpp"

namespace evnf::test {

enum class Heartbeat {
    alive,
    past,  ///< the daemon died
    never, ///< there was no daemon yet
};

/// Of all stages, from the next packet on.
inline void set_heartbeats(Chain& chain, Heartbeat heartbeat)
{
    const auto now = FastPathClock{}.jiffies();
    const __u64 deadline = heartbeat == Heartbeat::alive ? now + 3600 * 1000 : heartbeat == Heartbeat::past ? now - 1 : 0;
    for (__u32 stage = 0; stage < EVNF_MAX_STAGES; ++stage) chain.map("", "evnf_heartbeats").update(stage, deadline);
}

} // namespace evnf::test
