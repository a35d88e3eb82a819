// SPDX-License-Identifier: MIT
/// Entries of the flow log as JSON, one object a line.
#pragma once

#include "flow_record.hpp"

namespace evnf::dpi {

/// With its newline. Keys as in `evnfctl dpi flows`; flow_log.md has the list.
std::string flow_line(const FlowLogEntry& entry);

/// A line is a piece.
class LineEncoder final : public FlowEncoder {
public:
    std::size_t encode(FlowLogEntries entries, std::string& piece) override
    {
        piece = flow_line(*entries.front());
        return 1;
    }
};

} // namespace evnf::dpi
