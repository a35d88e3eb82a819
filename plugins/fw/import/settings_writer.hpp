// SPDX-License-Identifier: MIT
/// Decisions as settings of an instance of fw, in YAML.
#pragma once

#include <string>

#include "flattener.hpp"

namespace evnf::fw::iptables {

struct Settings {
    std::string yaml; ///< a whole `plugins:`
    std::size_t rules = 0;
};

/// `file` and `local` are for people and for a first rule: packets to the addresses `local` are the machine's own.
Settings write_settings(const Flattened& flattened, const Scope& scope, const std::string& file, const std::vector<std::string>& local);

/// The text on one line, for a terminal and for a comment.
std::string one_line(std::string_view text);

} // namespace evnf::fw::iptables
