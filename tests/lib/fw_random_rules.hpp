// SPDX-License-Identifier: MIT
/// Random rules for a firewall with the ports a, b and c.
#pragma once

#include <random>
#include <vector>

#include "fw_model.hpp"

namespace evnf::test {

/// Rules over a small world, with any conditions.
std::vector<FwModelRule> random_fw_rules(std::mt19937& random, unsigned count);

/// Rules as large networks have them: most are about a network or host at both ends, out of a tree of nested
/// networks, and more of the specific ones come early.
std::vector<FwModelRule> structured_fw_rules(std::mt19937& random, unsigned count);

} // namespace evnf::test
