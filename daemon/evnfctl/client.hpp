// SPDX-License-Identifier: MIT
/// The client's side of the control socket: one JSON object a line, a request and its answer.
#pragma once

#include <boost/json/value.hpp>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

namespace evnf::ctl {

/// The daemon answered, and the answer is no: what() is its reason.
struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// No daemon answered: what() names the socket, the error and what to do about it.
struct NoDaemon : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Sends one command ("status", "fw rules") and waits for its result.
boost::json::value request(const std::string& socket, const std::string& command,
                           const std::vector<std::string>& args,
                           std::chrono::milliseconds timeout = std::chrono::seconds{10});

} // namespace evnf::ctl
