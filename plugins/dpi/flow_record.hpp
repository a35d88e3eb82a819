// SPDX-License-Identifier: MIT
/// What is told of a flow when it has ended.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "ndpi_engine.hpp"

namespace evnf::dpi {

/// Why a record was written.
enum class FlowEnd {
    idle,     ///< no packet for the idle timeout
    fin,      ///< FIN in both directions
    rst,      ///< RST
    reopened, ///< a new connection took over its addresses and ports
};
std::string_view flow_end_name(FlowEnd end);

struct FlowRecord {
    struct Direction {
        std::uint64_t packets = 0;
        std::uint64_t bytes = 0; ///< of frames, as the port counts them
    };

    dpi_key key{};
    unsigned initiator = 0; ///< the direction that opened the flow: its packets come from key.address[initiator]
    std::chrono::system_clock::time_point start, end; ///< of the first and the last packet
    Label label;
    dpi_state state = DPI_NEW;
    Direction out, back; ///< from the initiator, to it
    FlowEnd ended = FlowEnd::idle;
    std::string policy; ///< what the policy did; empty: no policy matched
    bool gap = false;   ///< nDPI did not get all that it should have had
};

/// Packets that no record tells of.
struct FlowAggregate {
    std::string reason; ///< "evicted", "untracked", …; "lost": records that a target of the log had no room for
    std::string app;    ///< empty: any
    std::uint64_t flows = 0, packets = 0, bytes = 0;
    std::chrono::system_clock::time_point time; ///< when it was written
};

/// What a flow log is made of. Entries are shared by the targets.
using FlowLogEntry = std::variant<FlowRecord, FlowAggregate>;
using FlowLogEntries = std::span<const std::shared_ptr<const FlowLogEntry>>;

/// Makes of entries what a target is sent. For one connection, or one opening of a file; used by one thread.
class FlowEncoder {
public:
    virtual ~FlowEncoder() = default;
    /// What goes before the first entry; where datagrams may be lost also now and then later. Empty: nothing.
    virtual std::string preamble() { return {}; }
    /// Sets `piece` to as many of `entries` (one at least), from the first on, as go together; says how many.
    virtual std::size_t encode(FlowLogEntries entries, std::string& piece) = 0;
};

} // namespace evnf::dpi
