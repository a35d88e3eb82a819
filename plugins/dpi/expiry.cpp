// SPDX-License-Identifier: MIT
#include "expiry.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace evnf::dpi {

namespace {

constexpr std::size_t kSetsOfPart = 4096, kEndsOfPart = 1024, kPrunedOfPart = 256;

std::optional<FlowEnd> why_over(dpi_head head, const IdleTimeouts& timeouts, std::uint64_t now)
{
    if (head & DPI_ENDED) return FlowEnd::reopened;
    const bool closed = dpi_is_closed(head);
    const auto timeout = closed ? timeouts.closed : head & DPI_TCP ? timeouts.tcp : timeouts.udp;
    if (dpi_idle(head, now) <= static_cast<std::int64_t>(timeout)) return std::nullopt;
    return !closed ? FlowEnd::idle : head & DPI_RST ? FlowEnd::rst : FlowEnd::fin;
}

} // namespace

void Expiry::end(const Pass& pass, const Place& place, FlowEnd why)
{
    const auto flow = pass.table.take(place);
    if (!flow) return;
    ++ends_;
    const auto id = dpi_verdict_id(flow->verdict);
    const auto state = static_cast<dpi_state>(dpi_verdict_state(flow->verdict));
    const auto details = pass.inspector.find(id);
    Knowledge known{state, pass.inspector.finish(flow->key, *flow)};
    if (state >= DPI_CLASSIFIED) known.label = details ? details->label : pass.table.label(*flow);
    pass.table.add_to_totals(*flow, known.label);
    const auto idle = std::max<std::int64_t>(0, dpi_idle(place.head, pass.now));
    pass.ended(*flow, pass.now - static_cast<std::uint64_t>(idle), known, why);
}

void Expiry::mend(const Place& place)
{
    const std::pair where{place.set, place.way};
    busy_[where] = place.head;
    const auto before = busy_before_.find(where);
    if (before == busy_before_.end() || before->second != place.head) return;
    auto head = place.head;
    __atomic_compare_exchange_n(&place.set->heads[place.way], &head, head & DPI_VERSIONS, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

void Expiry::look_at(const Pass& pass, Place place)
{
    place.head = place.read_head();
    if (place.head & DPI_BUSY)
        mend(place);
    else if (!(place.head & DPI_USED))
        return;
    else if (const auto why = why_over(place.head, pass.timeouts, pass.now))
        end(pass, place, *why);
    else
        pass.table.reconsider(place, pass.now);
}

bool Expiry::part(FlowTable& table, Inspector& inspector, const IdleTimeouts& timeouts, std::uint64_t now, const EndedSink& ended)
{
    const Pass pass{table, inspector, timeouts, now, ended};
    const auto sets = table.sets();
    const auto last = std::min(sets.size(), next_ + kSetsOfPart);
    for (ends_ = 0; next_ < last && ends_ < kEndsOfPart; ++next_)
        for (unsigned way = 0; way < DPI_WAYS; ++way) look_at(pass, {&sets[next_], way, 0});
    inspector.prune(kPrunedOfPart, [&](const dpi_key& key, std::uint64_t id) { return table.is_alive(key, id); });
    if (next_ < sets.size()) return false;
    next_ = 0;
    busy_before_ = std::exchange(busy_, {});
    return true;
}

} // namespace evnf::dpi
