// SPDX-License-Identifier: MIT
/// The configuration file, as far as the daemon itself reads it: contract, section 3.
#pragma once

#include <spdlog/common.h>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <evnf/config.hpp>
#include <evnf/plugin.hpp>

namespace evnf {

enum class Hook { automatic, native, generic, tc };
enum class OnStop { keep, detach };
enum class ForwardingMode { route, wire };
/// What a stage does with packets while its slow path is dead: goes on with what it has, or drops them.
enum class Orphan { keep, drop };

struct PortSettings {
    std::string name;
    Hook hook = Hook::automatic;
    std::vector<std::string> chain; ///< instance names, in order
    bool tap = false;               ///< gets copies of packets, which end in its chain
    bool operator==(const PortSettings&) const = default;
};

struct PluginSettings {
    std::string instance;
    std::string module;
    std::optional<OnError> on_error;
    Orphan orphan;
    Node config; ///< the instance's own keys
};

struct Settings {
    std::filesystem::path control_socket = "/run/evnf/evnfd.sock";
    std::filesystem::path pin_dir = "/sys/fs/bpf/evnf";
    std::optional<Endpoint> metrics; ///< nothing: off
    OnStop on_stop = OnStop::keep;
    spdlog::level::level_enum log_level = spdlog::level::info;
    std::vector<PortSettings> ports;
    ForwardingMode mode = ForwardingMode::route;
    std::vector<std::pair<std::string, std::string>> wires;
    std::vector<PluginSettings> plugins;
};

/// A configuration that was refused; what() is all of its problems, one a line.
class ConfigError : public std::runtime_error {
public:
    explicit ConfigError(const std::vector<std::string>& lines);
};

/// The file's text. One that cannot be read is a problem.
std::string read_text(Problems& problems);
/// Reads the file's own sections and reports what is wrong with them. Plugins read theirs later.
/// A file that cannot be read or is no YAML is a problem too, and gives empty settings.
Settings read_settings(Problems& problems);
/// The same for a text; messages name problems.file().
Settings read_settings(const std::string& yaml, Problems& problems);

} // namespace evnf
