// SPDX-License-Identifier: MIT
/// What the framework itself tells: contract, section 4, `status` and `stats`.
#pragma once

#include <boost/json.hpp>
#include <functional>
#include <optional>

#include "dataplane.hpp"

namespace evnf {

/// What a port's interface is doing, for `status`.
struct PortStatus {
    std::string hook;
    bool up;
};

boost::json::object status(const Dataplane& dataplane, const std::string& config_file,
                           const std::function<PortStatus(const std::string& port)>& port_status);

/// `redirect_errors`: nothing where the kernel cannot tell.
boost::json::object stats(const Dataplane& dataplane, std::optional<std::uint64_t> redirect_errors);

/// "forward", "drop", …
const char* verdict_name(std::uint32_t verdict);
/// As in EVNF_REASONS.
const char* reason_name(std::uint32_t reason);

} // namespace evnf
