// SPDX-License-Identifier: MIT
/// Rules in, contents of the fast path's maps out. Knows no kernel.
#pragma once

#include <array>
#include <vector>

#include "rules.hpp"

namespace evnf::fw {

/// Rows of an address table, each key once: a packet's row is that of the longest prefix it is in.
struct PrefixRows {
    std::vector<fw_prefix> keys;
    std::vector<fw_bitmap> rows;
};

struct Tables {
    fw_config config{};
    PrefixRows src, dst;
    /// By fw_field; the tables of fields that no rule asks for, and of the addresses, are empty.
    std::array<std::vector<fw_bitmap>, FW_FIELDS> rows;
};

/// At most FW_MAX_RULES rules.
Tables compile(const std::vector<Rule>& rules);

} // namespace evnf::fw
