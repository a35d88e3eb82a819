// SPDX-License-Identifier: MIT
/// Ends flows that were idle for long enough.
#pragma once

#include <chrono>
#include <cstdint>

#include "flow_table.hpp"
#include "inspector.hpp"

namespace evnf::dpi {

struct IdleTimeouts {
    std::uint64_t tcp, udp, closed; ///< jiffies; `closed`: after FIN both ways or RST
};

class Expiry {
public:
    /// Looks at a bounded number of flows; true when all were looked at since the last true.
    bool turn(FlowTable& table, Inspector& inspector, const IdleTimeouts& timeouts, std::uint64_t now);

private:
    FlowTable::Walk walk_;
};

} // namespace evnf::dpi
