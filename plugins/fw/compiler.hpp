// SPDX-License-Identifier: MIT
/// Rules in, contents of the fast path's maps out (fw_shared.h). Knows no kernel.
#pragma once

#include <vector>

#include "rules.hpp"

namespace evnf::fw {

/// One map each, by its name; empty where no rule asks for it.
struct Tables {
    fw_config config{};
    std::vector<fw_block> blocks4, blocks6;
    std::vector<fw_span6> spans6;
    std::vector<fw_point> points;
    std::vector<fw_port_rows> ports;
    std::vector<fw_protocol_rows> protocols;
    std::vector<fw_row> rows;
    std::vector<std::uint64_t> groups;
    std::vector<fw_tuple> tuples;
    std::vector<fw_bucket> buckets;
    std::vector<fw_entry> entries;
    std::vector<std::string> sets; ///< no map: the sets that entries ask for, by the number of their bit
};

/// At most FW_MAX_RULES rules. Throws std::length_error, which says what of the rules is too much.
Tables compile(const std::vector<Rule>& rules);

} // namespace evnf::fw
