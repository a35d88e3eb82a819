// SPDX-License-Identifier: MIT
/// The latest packets that rules with `log` have decided, as the fast path tells of them (log.bpf.h).
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "fw_shared.h"

namespace evnf::fw {

class PacketLog {
public:
    using Moment = std::chrono::system_clock::time_point;
    static constexpr std::size_t kKept = 4096;

    /// What only the plugin knows.
    struct Names {
        std::function<std::string(std::uint32_t slot)> rule;
        std::function<std::string(std::uint16_t index)> port;
    };

    /// Takes a record of the ring, `jiffies` being the fast path's clock now; anything else is ignored.
    void add(std::span<const std::byte> bytes, std::uint64_t jiffies, unsigned jiffies_per_second, const Names& names);

    /// Answers `log [details] [-n COUNT]` with the latest, the oldest of them first, and `log [details] since CURSOR`
    /// with what came after: {"cursor": for the next call, "missed": no longer kept, "rows": […]}. Without a number,
    /// `since` begins with the latest `-n COUNT`. Throws std::invalid_argument.
    boost::json::value answer(const std::vector<std::string>& args) const;

private:
    static constexpr std::size_t kShown = 20; ///< unless -n says otherwise

    std::uint64_t end() const { return first_ + kept_.size(); }
    boost::json::object since(std::uint64_t cursor, bool details) const;

    struct Entry {
        fw_log_record record;
        Moment moment;
        std::string rule, port; ///< as they were called then
    };

    /// `details`: with all that is known of each, the begin of its frame too.
    static boost::json::object show(const Entry& entry, bool details);
    boost::json::array show_from(std::size_t index, bool details) const;

    std::deque<Entry> kept_;
    std::uint64_t first_ = 0; ///< how many came before those
};

} // namespace evnf::fw
