// SPDX-License-Identifier: MIT
#include "log.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

namespace evnf {

namespace {

/// %P: the level as sd-daemon(3) writes it.
class PriorityFlag final : public spdlog::custom_flag_formatter {
public:
    void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override
    {
        const char* priority = "<6>";
        if (message.level >= spdlog::level::err) priority = "<3>";
        else if (message.level == spdlog::level::warn) priority = "<4>";
        else if (message.level == spdlog::level::debug) priority = "<7>";
        out.append(priority, priority + 3);
    }
    std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<PriorityFlag>(); }
};

std::unique_ptr<spdlog::formatter> formatter(LogStyle style)
{
    auto pattern = std::make_unique<spdlog::pattern_formatter>();
    pattern->add_flag<PriorityFlag>('*');
    switch (style) {
    case LogStyle::plain: pattern->set_pattern("%v"); break;
    case LogStyle::terminal: pattern->set_pattern("%H:%M:%S.%e %-7l %n: %v"); break;
    case LogStyle::journal: pattern->set_pattern("%*%n: %v"); break;
    }
    return pattern;
}

} // namespace

std::shared_ptr<spdlog::logger> make_log(LogStyle style, spdlog::level::level_enum level)
{
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    sink->set_formatter(formatter(style));
    auto log = std::make_shared<spdlog::logger>("evnfd", std::move(sink));
    log->set_level(level);
    log->flush_on(spdlog::level::info);
    return log;
}

} // namespace evnf
