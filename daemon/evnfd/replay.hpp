// SPDX-License-Identifier: MIT
/// `evnfd --replay`: a capture through the real chain, attached to nothing. Contract, section 2.
#pragma once

#include <filesystem>
#include <optional>
#include <ostream>
#include <string>

#include "instance.hpp"

namespace evnf {

struct ReplayOptions {
    std::filesystem::path capture;
    std::string config;
    std::string port;
    std::optional<std::filesystem::path> write; ///< keeps what was forwarded or replied
    bool json = false;
};

/// Throws ConfigError, or std::runtime_error for a capture that cannot be read or a port that is not in the file.
void replay(const ReplayOptions& options, InstanceContext context, std::ostream& out);

} // namespace evnf
