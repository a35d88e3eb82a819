// SPDX-License-Identifier: MIT
/// The log goes to standard error; systemd or a terminal takes it from there.
#pragma once

#include <spdlog/logger.h>

#include <memory>

namespace evnf {

enum class LogStyle {
    plain,    ///< the bare message, for commands that end
    terminal, ///< time, level, who
    journal,  ///< "<6>who: message": journald reads the level from the prefix (sd-daemon(3))
};

/// The parent of all loggers; plugins' loggers share its sink and level.
std::shared_ptr<spdlog::logger> make_log(LogStyle style, spdlog::level::level_enum level);

} // namespace evnf
