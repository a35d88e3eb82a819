// SPDX-License-Identifier: MIT
/// Looks at all flows, again and again: ends those that are over, and has those that grew reconsidered.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>

#include "flow_record.hpp"
#include "flow_table.hpp"
#include "inspector.hpp"

namespace evnf::dpi {

struct IdleTimeouts {
    std::uint64_t tcp, udp, closed; ///< jiffies; `closed`: after FIN both ways or RST
};

/// A flow that has ended: what it was, when its latest packet came (jiffies), and why it ended.
using EndedSink = std::function<void(const dpi_flow& flow, std::uint64_t last_seen, const Knowledge& known, FlowEnd end)>;

class Expiry {
public:
    /// Looks at the next part of the table, a bounded number of sets and of ends. True when that was the last part; the next call
    /// begins again.
    bool part(FlowTable& table, Inspector& inspector, const IdleTimeouts& timeouts, std::uint64_t now, const EndedSink& ended);

private:
    struct Pass {
        FlowTable& table;
        Inspector& inspector;
        const IdleTimeouts& timeouts;
        std::uint64_t now;
        const EndedSink& ended;
    };
    void look_at(const Pass& pass, Place place);
    void end(const Pass& pass, const Place& place, FlowEnd why);
    void mend(const Place& place);

    std::size_t next_ = 0;     // set to look at
    std::size_t ends_ = 0;     // in this part
    /// Places that were being written, with their heads: who still is in the next pass was left so by a daemon that was killed.
    std::map<std::pair<const dpi_set*, unsigned>, dpi_head> busy_, busy_before_;
};

} // namespace evnf::dpi
