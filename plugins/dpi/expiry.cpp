// SPDX-License-Identifier: MIT
#include "expiry.hpp"

#include <netinet/in.h>

namespace evnf::dpi {

namespace {

constexpr std::uint32_t kFlowsPerTurn = 4096;
constexpr std::size_t kPrunedPerTurn = 256;

bool is_idle(const dpi_key& key, const dpi_flow& flow, const IdleTimeouts& timeouts, std::uint64_t now)
{
    constexpr std::uint32_t both = DPI_FLOW_FIN_0 | DPI_FLOW_FIN_1;
    const bool closed = (flow.flags & DPI_FLOW_RST) || (flow.flags & both) == both;
    const auto timeout = closed ? timeouts.closed : key.protocol == IPPROTO_TCP ? timeouts.tcp : timeouts.udp;
    return now > flow.last_seen && now - flow.last_seen > timeout;
}

void end(FlowTable& table, Inspector& inspector, const dpi_key& key, const dpi_flow& flow)
{
    const auto label = inspector.finish(key, flow);
    const bool has_verdict = dpi_verdict_state(flow.verdict) >= DPI_CLASSIFIED;
    table.close(key, flow, has_verdict ? table.label(flow) : label);
}

} // namespace

bool Expiry::turn(FlowTable& table, Inspector& inspector, const IdleTimeouts& timeouts, std::uint64_t now)
{
    const bool over = walk_.turn(table, kFlowsPerTurn, [&](const dpi_key& key, const dpi_flow& flow) {
        if (is_idle(key, flow, timeouts, now)) end(table, inspector, key, flow);
    });
    inspector.prune(kPrunedPerTurn, [&](const dpi_key& key, std::uint64_t id) { return table.is_alive(key, id); });
    return over;
}

} // namespace evnf::dpi
