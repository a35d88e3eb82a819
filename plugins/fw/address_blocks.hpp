// SPDX-License-Identifier: MIT
/// Where the fast path looks an address up: blocks of addresses, down to those that the rules do not tell apart.
#pragma once

#include <vector>

#include "address_classes.hpp"
#include "compiler.hpp"

namespace evnf::fw {

/// Adds the blocks of one side and family, and sets the side's span for IPv6. `runs` is not empty.
/// Throws std::length_error where the rules speak of too many addresses.
void add_blocks(Tables& tables, fw_family family, fw_side side, const std::vector<Run>& runs);

} // namespace evnf::fw
