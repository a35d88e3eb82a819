// SPDX-License-Identifier: MIT
/// Why a packet meets the rule that it meets: `fw explain`. Rules are tried one after the other, as the documentation
/// says; the fast path's tables are not asked.
#pragma once

#include <boost/json/object.hpp>

#include <string_view>
#include <vector>

#include "packet_words.hpp"

namespace evnf::fw {

/// Keys of a rule, by their names in the configuration.
struct Comparison {
    std::vector<std::string_view> differs; ///< conditions that the packet does not meet
    std::vector<std::string_view> open;    ///< that it meets or not: its description does not say
    bool matches() const { return differs.empty() && open.empty(); }
};

Comparison compare(const BookRule& rule, const DescribedPacket& packet);

/// {"packet": as understood, "rule", "action", "depends_on": […], "nearly": […]}; README.md says what they mean.
boost::json::object explain(const RuleBook& book, const DescribedPacket& packet);

} // namespace evnf::fw
