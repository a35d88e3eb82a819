// SPDX-License-Identifier: MIT
#include "inspector.hpp"

#include <arpa/inet.h>
#include <netinet/ip.h>

#include <algorithm>
#include <cstring>
#include <tuple>
#include <vector>

#include "opening.hpp"

namespace evnf::dpi {

namespace {

/// nDPI does not take a packet that is shorter than its header says: makes a cut copy whole.
std::vector<std::byte> with_length_of_copy(std::span<const std::byte> packet)
{
    std::vector<std::byte> mended(packet.begin(), packet.end());
    const bool v4 = std::to_integer<unsigned>(packet[0]) >> 4 == 4;
    const std::uint16_t length = htons(static_cast<std::uint16_t>(v4 ? packet.size() : packet.size() - 40));
    std::memcpy(mended.data() + (v4 ? 2 : 4), &length, sizeof length);
    return mended;
}

} // namespace

void Inspector::use(std::shared_ptr<Engine> engine, VerdictSink sink)
{
    const std::lock_guard lock{mutex_};
    engine_ = std::move(engine);
    sink_ = std::move(sink);
}

void Inspector::inspect(std::span<const std::byte> record)
{
    dpi_copy copy;
    if (record.size() < sizeof copy) return;
    std::memcpy(&copy, record.data(), sizeof copy);
    const auto packet = record.subspan(sizeof copy, std::min<std::size_t>(copy.length, record.size() - sizeof copy));
    if (packet.size() < sizeof(iphdr)) return;

    const std::lock_guard lock{mutex_};
    auto [found, is_new] = flows_.try_emplace(copy.id);
    Flow& flow = found->second;
    if (is_new) {
        flow.key = copy.key;
        flow.inspection = begin(copy, packet);
    }
    if (flow.inspection) feed(flow, copy, packet);
}

std::unique_ptr<Inspection> Inspector::begin(const dpi_copy& copy, std::span<const std::byte> packet) const
{
    auto inspection = std::make_unique<Inspection>(engine_);
    if (copy.flow_flags & DPI_FLOW_HANDSHAKE) {
        const auto opening = opening_packet(copy.opening, packet, copy.l4_offset, copy.direction);
        if (!opening.empty()) inspection->feed(opening, milliseconds(copy.now), true);
    }
    return inspection;
}

void Inspector::feed(Flow& flow, const dpi_copy& copy, std::span<const std::byte> packet)
{
    const bool cut = copy.l3_length > packet.size();
    const bool final = flow.inspection->feed(cut ? with_length_of_copy(packet) : packet, milliseconds(copy.now),
                                             copy.from_initiator);
    if (final || copy.is_last)
        conclude(flow, copy.id);
    else
        flow.known.label = flow.inspection->label();
}

void Inspector::conclude(Flow& flow, std::uint64_t id)
{
    flow.inspection->give_up();
    flow.known.label = flow.inspection->label();
    flow.known.state = flow.known.label.known() ? DPI_CLASSIFIED : DPI_GAVE_UP;
    flow.inspection.reset();
    // Where the flow is no more, prune() forgets it, once its record is written.
    sink_({flow.key, id, flow.known.state, flow.known.label});
}

std::optional<Knowledge> Inspector::find(std::uint64_t id) const
{
    const std::lock_guard lock{mutex_};
    const auto found = flows_.find(id);
    if (found == flows_.end()) return std::nullopt;
    return found->second.known;
}

Knowledge Inspector::describe(const dpi_key& key, const dpi_flow& flow) const
{
    const std::lock_guard lock{mutex_};
    const auto found = flows_.find(dpi_verdict_id(flow.verdict));
    if (found == flows_.end())
        return {static_cast<dpi_state>(dpi_verdict_state(flow.verdict)), engine_->guess(key, flow.initiator)};
    const auto& [known, inspection] = std::tie(found->second.known, found->second.inspection);
    if (known.label.known() || !inspection) return known;
    return {known.state, inspection->guess(key, flow.initiator)};
}

Label Inspector::finish(const dpi_key& key, const dpi_flow& flow)
{
    const std::lock_guard lock{mutex_};
    const auto found = flows_.find(dpi_verdict_id(flow.verdict));
    if (found == flows_.end()) return engine_->guess(key, flow.initiator);
    auto node = flows_.extract(found);
    if (!node.mapped().inspection) return node.mapped().known.label;
    node.mapped().inspection->give_up();
    return node.mapped().inspection->label();
}

void Inspector::prune(std::size_t count, const std::function<bool(const dpi_key&, std::uint64_t)>& is_alive)
{
    const std::lock_guard lock{mutex_};
    auto next = flows_.lower_bound(pruned_to_);
    for (; count > 0 && next != flows_.end(); --count)
        next = is_alive(next->second.key, next->first) ? std::next(next) : flows_.erase(next);
    pruned_to_ = next == flows_.end() ? 0 : next->first;
}

std::size_t Inspector::flows() const
{
    const std::lock_guard lock{mutex_};
    return flows_.size();
}

std::size_t Inspector::inspections() const
{
    const std::lock_guard lock{mutex_};
    std::size_t count = 0;
    for (const auto& [id, flow] : flows_) count += flow.inspection != nullptr;
    return count;
}

} // namespace evnf::dpi
