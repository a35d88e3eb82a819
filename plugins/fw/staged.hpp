// SPDX-License-Identifier: MIT
/// A policy on its way to be live: what the daemon makes a generation of.
#pragma once

#include <functional>

#include "live.hpp"
#include "rules.hpp"

namespace evnf::fw {

/// `when_live` is called after the commit, on the control thread; it must not throw. Throws std::length_error, which says
/// what of the rules is too much for the tables.
std::unique_ptr<Staged> make_staged(Policy policy, PortNames ports, Live& live, Host& host, std::function<void()> when_live);

} // namespace evnf::fw
