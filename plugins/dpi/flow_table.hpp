// SPDX-License-Identifier: MIT
/// The flow table as the slow path sees it: memory that it shares with the fast path. dpi_shared.h says who may write what.
#pragma once

#include <evnf/mapped_array.hpp>
#include <evnf/plugin.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "apps.hpp"
#include "inspector.hpp"
#include "offload.hpp"

namespace evnf::dpi {

/// Where a flow is, and its head as it was.
struct Place {
    dpi_set* set;
    unsigned way;
    dpi_head head;

    dpi_flow& flow() const { return set->ways[way]; }
    dpi_head read_head() const { return __atomic_load_n(&set->heads[way], __ATOMIC_ACQUIRE); }
};

/// Elements of dpi_table for so many flows: while that many begin, about one in 2000 finds both of its sets full.
std::uint32_t sets_for(std::uint32_t max_flows);

/// Draws the secret of the hash, where that was not done before.
dpi_hash_key drawn_key(const MapRef& map);

/// Thread-safe.
class FlowTable {
public:
    /// `ticks`: jiffies a second. The maps must outlive the table.
    FlowTable(const Maps& maps, std::shared_ptr<Apps> apps, Offload offload, unsigned ticks);

    /// Writes the verdict into the flow's entry, or gives it the fresh budget; false, and counted, when that flow is no more.
    bool conclude(const Verdict& verdict);

    /// Offloads the flow, or has it inspected once more, if it has done enough for that by now (jiffies).
    void reconsider(const Place& place, std::uint64_t now);
    /// Ends the flow: its entry is free again, and this is what it was. Nothing where a packet came meanwhile.
    std::optional<dpi_flow> take(const Place& place);
    /// The flow's number of packets and bytes is that of the application now, for good.
    void add_to_totals(const dpi_flow& flow, const Label& label);

    /// What the entry itself says, without SNI: for flows with a verdict.
    Label label(const dpi_flow& flow) const;
    bool is_alive(const dpi_key& key, std::uint64_t id) const { return find(key, id).has_value(); }
    Volume volume(const dpi_flow& flow, std::uint64_t now) const;

    const Apps& apps() const { return *apps_; }
    dpi_faults faults() const;
    dpi_tally tally() const;
    std::span<dpi_set> sets() const { return table_.rows(); }

    /// Each flow that is alive or was not yet recorded, as it was at one moment.
    void for_each(const std::function<void(const dpi_flow&, dpi_head)>& visit) const;

    /// What `former` held, a table of another size, into this one, which is empty. What finds no room is lost: how many flows.
    std::size_t carry_over(const MappedArray<dpi_set>& former);

private:
    std::optional<Place> find(const dpi_key& key, std::uint64_t id) const;
    std::optional<Place> room_for(const dpi_key& key) const;
    bool install(const Place& place, const Verdict& verdict);
    bool renew_budget(const Place& place) const;
    void count(__u64 dpi_tally::* what) const;
    std::uint64_t word_of(const Verdict& verdict, std::uint64_t before) const;
    bool write_verdict(const Place& place, std::uint64_t id, std::uint64_t verdict) const;
    void inspect_anew(const Place& place, std::uint64_t verdict) const;
    void protect(const Place& place) const;

    MappedArray<dpi_set> table_;
    MappedArray<std::uint64_t> ids_;
    MappedArray<dpi_tally> tally_;
    MapRef faults_;
    dpi_hash_key secret_;
    std::shared_ptr<Apps> apps_;
    Offload offload_;
    unsigned ticks_;
};

} // namespace evnf::dpi
