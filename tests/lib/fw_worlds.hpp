// SPDX-License-Identifier: MIT
/// Random rules for a firewall, and frames that meet them or nearly do.
#pragma once

#include <random>
#include <vector>

#include "fw_model.hpp"

namespace evnf::test {

/// Random rules and well-formed packets over a small world, so that they meet often. Its ports
/// are a, b and c.
std::vector<FwModelRule> random_fw_rules(std::mt19937& random, unsigned count);
Frame random_fw_frame(std::mt19937& random);

/// Rules as large networks have them: most are about a network or host at both ends, out of a tree of nested
/// networks, and more of the specific ones come early.
std::vector<FwModelRule> structured_fw_rules(std::mt19937& random, unsigned count);

/// A frame that meets one of the rules or, in half of the cases, misses it by one field. It need not be the
/// first rule that the frame meets.
Frame fw_frame_near(std::mt19937& random, const std::vector<FwModelRule>& rules);

} // namespace evnf::test
