// SPDX-License-Identifier: MIT
/// Source and destination addresses of rules, and the named sets that they refer to.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/config.hpp>

namespace evnf::fw {

/// Matches what lies in one of the prefixes or, negated, in none of them.
struct Addresses {
    std::vector<Prefix> prefixes;
    bool negated = false;
};

using Sets = std::map<std::string, std::vector<Prefix>, std::less<>>;

/// Reads `sets:`; files that it names too, relative to the configuration file.
Sets read_sets(const Node& node);

/// Reads `src:` or `dst:`: prefixes and "$set", all of them with "!" before them or none.
Addresses read_addresses(const Node& node, const Sets& sets);

/// "02:00:5e:10:00:01" as Rule::macs has it.
std::optional<std::uint64_t> mac_address(std::string_view text);
std::string mac_text(std::uint64_t mac);

} // namespace evnf::fw
