// SPDX-License-Identifier: MIT
/// Filter sets as ClassBench (Taylor, Turner 2005) describes those of real devices.
#pragma once

#include <random>
#include <vector>

#include "fw_random_rules.hpp"

namespace evnf::test {

/// Of routers' access lists, of firewalls, of hosts' IP chains.
enum class FwFlavour { acl, fw, ipc };

/// Prefixes at both ends out of nested ones that many rules share, ports by class, few protocols. No two rules have the
/// same conditions; there may be fewer rules than `count` where no more are found.
std::vector<FwModelRule> classbench_fw_rules(std::mt19937& random, FwFlavour flavour, FwFamily family, unsigned count);

} // namespace evnf::test
