// SPDX-License-Identifier: MIT
/// Addresses as numbers: from iptables' texts, and back to prefixes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conditions.hpp"

namespace evnf::fw::iptables {

/// "10.2.0.2", "10.0.0.0/8", "10.0.0.0/255.0.0.0". Nothing where the text is none of that family, or the mask has gaps.
std::optional<AddressSet> network_of(std::string_view text, Family family);

/// "10.0.0.1-10.0.0.9"
std::optional<AddressSet> range_of(std::string_view text, Family family);

/// The prefixes that the set consists of, in order.
std::vector<std::string> prefixes_of(const AddressSet& addresses, Family family);

/// The prefix that is all of the family.
const char* all_prefix(Family family);

} // namespace evnf::fw::iptables
