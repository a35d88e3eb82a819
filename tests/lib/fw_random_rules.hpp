// SPDX-License-Identifier: MIT
/// Random rules for a firewall with the ports a, b and c.
#pragma once

#include <random>
#include <vector>

#include "fw_model.hpp"

namespace evnf::test {

/// Of which prefixes may be.
enum class FwFamily { both, v4, v6 };

/// Rules over a small world, with any conditions but states.
std::vector<FwModelRule> random_fw_rules(std::mt19937& random, unsigned count,
                                         FwFamily family = FwFamily::both);

/// Some of the rules ask for states as well; half of the time, usual ones about states alone come first.
void add_states(std::mt19937& random, std::vector<FwModelRule>& rules);

/// Prefixes of any length and value, any protocol, any range of ports.
std::vector<FwModelRule> uniform_fw_rules(std::mt19937& random, unsigned count, FwFamily family);

/// Rules as large networks have them: most are about a network or host at both ends, out of a tree of nested
/// networks, and more of the specific ones come early.
std::vector<FwModelRule> structured_fw_rules(std::mt19937& random, unsigned count);

} // namespace evnf::test
