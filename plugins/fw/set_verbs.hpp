// SPDX-License-Identifier: MIT
/// `evnfctl fw set …`: named sets are shown and changed.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <vector>

#include "live.hpp"

namespace evnf::fw {

/// `args` are the words behind `set`. Throws std::runtime_error, which says what is wrong with them; then nothing has changed. Large
/// changes take seconds, in which the host is told that they go on.
boost::json::value answer_set(Live& live, const std::vector<std::string>& args, Host& host);

} // namespace evnf::fw
