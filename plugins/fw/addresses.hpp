// SPDX-License-Identifier: MIT
/// Source and destination addresses of rules, and the named sets that they refer to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/config.hpp>

namespace evnf::fw {

/// Matches what lies in one of the prefixes or sets or, negated, in none of them. Sets are names: what they hold may change.
struct Addresses {
    std::vector<Prefix> prefixes;
    std::vector<std::string> sets; ///< each once
    bool negated = false;
};

using Sets = std::map<std::string, std::vector<Prefix>, std::less<>>;

/// One prefix a line; blank lines and what follows a '#' do not count. Calls `problem("PATH:LINE: …")` for each line that is none.
std::vector<Prefix> read_prefix_file(const std::filesystem::path& path, const std::function<void(const std::string&)>& problem);

/// Reads `sets:`; files that it names too, relative to the configuration file.
Sets read_sets(const Node& node);

/// Reads `src:` or `dst:`: prefixes and "$set", all of them with "!" before them or none.
Addresses read_addresses(const Node& node, const Sets& sets);

/// Addresses as numbers, in the mapped form.
__extension__ typedef unsigned __int128 Number128;
Number128 number_of(const Address& address);
Address address_of(Number128 number);

/// "02:00:5e:10:00:01" as Rule::macs has it.
std::optional<std::uint64_t> mac_address(std::string_view text);
std::string mac_text(std::uint64_t mac);

} // namespace evnf::fw
