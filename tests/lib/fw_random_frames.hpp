// SPDX-License-Identifier: MIT
/// Frames that meet random rules, or nearly do.
#pragma once

#include <random>
#include <vector>

#include "fw_model.hpp"

namespace evnf::test {

/// A well-formed packet of the small world.
Frame random_fw_frame(std::mt19937& random);

/// A frame that meets one of the rules or, in half of the cases, misses it by one field. It need not be the
/// first rule that the frame meets.
Frame fw_frame_near(std::mt19937& random, const std::vector<FwModelRule>& rules);

} // namespace evnf::test
