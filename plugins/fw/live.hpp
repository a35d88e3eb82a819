// SPDX-License-Identifier: MIT
/// What is live of fw, to be asked about and looked after.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/plugin.hpp>

#include "connections.hpp"
#include "limits.hpp"
#include "live_sets.hpp"
#include "rule_book.hpp"
#include "unused.hpp"

namespace evnf::fw {

/// A rule, or the default, as `fw rules` lists it.
struct Listed {
    std::string name;
    std::string_view action;
    std::uint32_t slot = FW_DEFAULT_SLOT;
    bool limited = false, logged = false;
};

struct Live {
    std::shared_ptr<const Maps> maps; ///< what the counters are in
    std::vector<Listed> rules;        ///< in order, the default last
    std::map<std::uint32_t, std::string> log_names; ///< of rules with `log`, by slot
    RuleBook book;
    std::optional<std::vector<Unreachable>> unreachable; ///< once somebody asked, until a set changes
    std::optional<Limits> limits;
    std::optional<Connections> connections; ///< where they are tracked
    LiveSets sets;
};

} // namespace evnf::fw
