// SPDX-License-Identifier: MIT
/// `health` of a service.
#pragma once

#include <evnf/config.hpp>

#include "settings.hpp"

namespace evnf::lb {

/// Reports all problems at the node.
Health read_health(const Node& node);

/// "200", "200-399": a status or a range of them.
std::string text(const Health::Statuses& statuses);

} // namespace evnf::lb
