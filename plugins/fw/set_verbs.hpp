// SPDX-License-Identifier: MIT
/// `evnfctl fw set …`: named sets are shown and changed.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "live.hpp"

namespace evnf::fw {

/// `args` are the words behind `set`. Throws std::runtime_error, which says what is wrong with them; then nothing has changed.
boost::json::value answer_set(Live& live, const std::vector<std::string>& args);

} // namespace evnf::fw
