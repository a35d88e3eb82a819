// SPDX-License-Identifier: MIT
/// What tables beside filter do to forwarded packets. They stay in netfilter, and so do the packets that they change.
#pragma once

#include <vector>

#include "flattener.hpp"

namespace evnf::fw::iptables {

/// Puts before the decisions what leaves to netfilter all packets that the other tables may change before FORWARD, and
/// of those that FORWARD allows what they may change behind it.
void keep_for_other_tables(Flattened& flattened, const std::vector<Table>& tables, const Scope& scope);

} // namespace evnf::fw::iptables
