// SPDX-License-Identifier: MIT
/// The slow path's side of the connection tables: timeouts, expiry, listing.
#pragma once

#include <array>
#include <boost/json/array.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include <evnf/plugin.hpp>

#include "fw_shared.h"
#include "rules.hpp"

namespace evnf::fw {

/// By enum fw_phase, in jiffies.
using Timeouts = std::array<std::uint32_t, FW_PHASES>;
Timeouts timeouts_of(const Tracking& tracking, unsigned jiffies_per_second);

class Connections {
public:
    Connections(const Maps& maps, const Timeouts& timeouts)
        : open_{maps.get("fw_connections")}, half_open_{maps.get("fw_half_open")}, timeouts_{timeouts}
    {
    }

    /// Looks at the next part of fw_connections, a bounded number of entries, and deletes what has been idle for too
    /// long at `now` (jiffies). True when that was the last part. Half-open ones are replaced by newer ones instead.
    bool expire_some(std::uint64_t now);

    /// `fw connections`: at most `most` of those that live and have each of the words as protocol, address or state.
    boost::json::array list(const std::vector<std::string>& words, std::uint64_t now, unsigned jiffies_per_second, std::size_t most) const;

private:
    bool is_alive(const fw_connection_key& key, const fw_connection& connection, std::uint64_t now) const;

    MapRef open_, half_open_;
    Timeouts timeouts_;
    std::vector<std::byte> cursor_;
};

} // namespace evnf::fw
