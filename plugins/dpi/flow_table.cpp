// SPDX-License-Identifier: MIT
#include "flow_table.hpp"

#include <algorithm>
#include <cstring>
#include <random>

namespace evnf::dpi {

namespace {

constexpr std::uint32_t kFlowsOfTwoSets = 7; // on average, when all are there

bool is_there(dpi_head head)
{
    return (head & (DPI_USED | DPI_BUSY)) == DPI_USED;
}

bool same_key(const dpi_key& a, const dpi_key& b)
{
    return std::memcmp(&a, &b, sizeof a) == 0;
}

/// The flow with this head; nothing where its place is just being given to another one.
std::optional<dpi_flow> read(const Place& place)
{
    const dpi_flow flow = place.flow();
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((place.read_head() ^ place.head) & (DPI_VERSIONS | DPI_USED | DPI_BUSY)) return std::nullopt;
    return flow;
}

std::uint64_t take(__u64& counter)
{
    return __atomic_exchange_n(&counter, 0, __ATOMIC_RELAXED);
}

template <class T>
MappedArray<T> only_row(const Maps& maps, const char* name)
{
    return {maps.get(name), 1};
}

} // namespace

std::uint32_t sets_for(std::uint32_t max_flows)
{
    return max_flows / kFlowsOfTwoSets * 2 + 2;
}

dpi_hash_key drawn_key(const MapRef& map)
{
    constexpr std::uint32_t only = 0;
    if (const auto known = map.find<dpi_hash_key>(only); known && (known->halves[0] || known->halves[1])) return *known;
    std::random_device random;
    dpi_hash_key key;
    for (auto& half : key.halves) half = std::uint64_t{random()} << 32 | random();
    map.update(only, key);
    return key;
}

FlowTable::FlowTable(const Maps& maps, std::shared_ptr<Apps> apps, Offload offload, unsigned ticks)
    : table_{maps.get("dpi_table"), maps.get("dpi_table").info().max_entries},
      ids_{only_row<std::uint64_t>(maps, "dpi_ids")},
      tally_{only_row<dpi_tally>(maps, "dpi_tally")},
      faults_{maps.get("dpi_faults")},
      secret_{drawn_key(maps.get("dpi_hash_key"))},
      apps_{std::move(apps)},
      offload_{std::move(offload)},
      ticks_{ticks}
{
}

std::optional<Place> FlowTable::find(const dpi_key& key, std::uint64_t id) const
{
    const auto sets = static_cast<std::uint32_t>(table_.rows().size());
    const auto mixed = dpi_mix(&key, &secret_);
    for (const auto index : {dpi_first_set(mixed, sets), dpi_second_set(mixed, sets)}) {
        auto& set = table_.rows()[index];
        for (unsigned way = 0; way < DPI_WAYS; ++way) {
            Place place{&set, way, 0};
            place.head = place.read_head();
            if (set.tags[way] != dpi_tag_of(mixed) || !is_there(place.head)) continue;
            const auto flow = read(place);
            if (flow && same_key(flow->key, key) && dpi_verdict_id(flow->verdict) == id) return place;
        }
    }
    return std::nullopt;
}

/// Replaces the verdict of the life `id`; false when that is over.
bool FlowTable::write_verdict(const Place& place, std::uint64_t id, std::uint64_t verdict) const
{
    auto& word = place.flow().verdict;
    auto seen = __atomic_load_n(&word, __ATOMIC_RELAXED);
    while (dpi_verdict_id(seen) == id)
        if (__atomic_compare_exchange_n(&word, &seen, verdict, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) return true;
    return false;
}

/// What was inspected once more in vain stays what it was.
std::uint64_t FlowTable::word_of(const Verdict& verdict, std::uint64_t before) const
{
    if (!verdict.label.known() && dpi_verdict_app(before))
        return dpi_verdict(verdict.id, dpi_verdict_app(before), dpi_verdict_confidence(before), DPI_CLASSIFIED);
    return dpi_verdict(verdict.id, apps_->number(verdict.label), verdict.label.confidence, verdict.state);
}

bool FlowTable::conclude(const Verdict& verdict)
{
    const auto place = find(verdict.key, verdict.id);
    const bool done = place && (verdict.fresh_budget ? renew_budget(*place) : install(*place, verdict));
    if (!done) count(&dpi_tally::stale_verdicts);
    return done;
}

void FlowTable::count(__u64 dpi_tally::* what) const
{
    __atomic_fetch_add(&(tally_.rows()[0].*what), 1, __ATOMIC_RELAXED);
}

bool FlowTable::install(const Place& place, const Verdict& verdict)
{
    auto& flow = place.flow();
    if (!write_verdict(place, verdict.id, word_of(verdict, flow.verdict))) return false;
    __atomic_store_n(&flow.risks, verdict.label.risk, __ATOMIC_RELAXED);
    __atomic_store_n(&flow.inspected, flow.bytes[0] + flow.bytes[1], __ATOMIC_RELAXED);
    if (offload_.takes(verdict.state, verdict.label, {flow.packets[0] + flow.packets[1], flow.bytes[0] + flow.bytes[1]})) protect(place);
    return true;
}

bool FlowTable::renew_budget(const Place& place) const
{
    __atomic_and_fetch(&place.flow().flags, static_cast<__u16>(~DPI_FLOW_GAP), __ATOMIC_RELAXED);
    __atomic_store_n(&place.flow().copies, 0, __ATOMIC_RELAXED);
    count(&dpi_tally::fresh_budgets);
    return true;
}

void FlowTable::protect(const Place& place) const
{
    auto head = place.head;
    while (!((head ^ place.head) & DPI_VERSIONS) && is_there(head) && !(head & (DPI_ENDED | DPI_OFFLOADED)))
        if (__atomic_compare_exchange_n(&place.set->heads[place.way], &head, head | DPI_OFFLOADED, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            return;
}

Volume FlowTable::volume(const dpi_flow& flow, std::uint64_t now) const
{
    const auto age = std::uint64_t{static_cast<std::uint32_t>(now) - flow.first_seen};
    return {flow.packets[0] + flow.packets[1], flow.bytes[0] + flow.bytes[1], std::chrono::milliseconds{age * 1000 / ticks_}};
}

/// The flow goes on as what it is, until inspection says otherwise.
void FlowTable::inspect_anew(const Place& place, std::uint64_t verdict) const
{
    const auto id = __atomic_add_fetch(&ids_.rows()[0], 1, __ATOMIC_RELAXED);
    auto& flow = place.flow();
    __atomic_store_n(&flow.inspected, flow.bytes[0] + flow.bytes[1], __ATOMIC_RELAXED);
    __atomic_store_n(&flow.copies, 0, __ATOMIC_RELAXED);
    write_verdict(place, dpi_verdict_id(verdict),
                  dpi_verdict(id, dpi_verdict_app(verdict), dpi_verdict_confidence(verdict), DPI_INSPECTING));
}

void FlowTable::reconsider(const Place& place, std::uint64_t now)
{
    const bool late = offload_.mode == Offload::Mode::elephants && !(place.head & DPI_OFFLOADED);
    if (!late && !offload_.reinspect) return;
    const auto flow = read(place);
    if (!flow || dpi_verdict_state(flow->verdict) < DPI_CLASSIFIED) return;
    const auto state = static_cast<dpi_state>(dpi_verdict_state(flow->verdict));
    const auto done = volume(*flow, now);
    if (late && offload_.takes(state, label(*flow), done)) protect(place);
    if (offload_.reinspect && !(flow->flags & DPI_FLOW_NEVER) && done.bytes - flow->inspected >= offload_.reinspect)
        inspect_anew(place, flow->verdict);
}

std::optional<dpi_flow> FlowTable::take(const Place& place)
{
    auto head = place.head;
    const auto version = (head + DPI_VERSION) & DPI_VERSIONS;
    // A packet that comes at this moment has changed the head: the flow lives.
    if (!__atomic_compare_exchange_n(&place.set->heads[place.way], &head, version | DPI_BUSY, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return std::nullopt;
    auto& there = place.flow();
    dpi_flow flow = there;
    flow.verdict = dpi::take(there.verdict);
    for (const auto direction : {0, 1}) {
        flow.packets[direction] = dpi::take(there.packets[direction]);
        flow.bytes[direction] = dpi::take(there.bytes[direction]);
    }
    __atomic_store_n(&place.set->heads[place.way], version, __ATOMIC_RELEASE);
    return flow;
}

void FlowTable::add_to_totals(const dpi_flow& flow, const Label& label)
{
    apps_->add(apps_->number(label), flow.packets[0] + flow.packets[1], flow.bytes[0] + flow.bytes[1]);
}

Label FlowTable::label(const dpi_flow& flow) const
{
    Label label;
    std::tie(label.app, label.category) = apps_->name(dpi_verdict_app(flow.verdict));
    label.confidence = static_cast<dpi_confidence>(dpi_verdict_confidence(flow.verdict));
    return label;
}

dpi_faults FlowTable::faults() const
{
    dpi_faults sum{};
    for (const auto& cpu : faults_.find_per_cpu<dpi_faults>(std::uint32_t{0})) {
        sum.untracked_packets += cpu.untracked_packets;
        sum.untracked_bytes += cpu.untracked_bytes;
        sum.evicted_flows += cpu.evicted_flows;
        sum.evicted_packets += cpu.evicted_packets;
        sum.evicted_bytes += cpu.evicted_bytes;
        sum.lost_copies += cpu.lost_copies;
    }
    return sum;
}

dpi_tally FlowTable::tally() const
{
    return tally_.rows()[0];
}

void FlowTable::for_each(const std::function<void(const dpi_flow&, dpi_head)>& visit) const
{
    for (auto& set : table_.rows())
        for (unsigned way = 0; way < DPI_WAYS; ++way) {
            Place place{&set, way, 0};
            place.head = place.read_head();
            if (!is_there(place.head)) continue;
            if (const auto flow = read(place)) visit(*flow, place.head);
        }
}

std::optional<Place> FlowTable::room_for(const dpi_key& key) const
{
    const auto sets = static_cast<std::uint32_t>(table_.rows().size());
    const auto mixed = dpi_mix(&key, &secret_);
    auto& first = table_.rows()[dpi_first_set(mixed, sets)];
    for (auto* set : {&first, &table_.rows()[dpi_second_set(mixed, sets)]})
        for (unsigned way = 0; way < DPI_WAYS; ++way)
            if (!set->heads[way]) {
                first.displaced |= set != &first;
                set->tags[way] = dpi_tag_of(mixed);
                return Place{set, way, 0};
            }
    return std::nullopt;
}

std::size_t FlowTable::carry_over(const MappedArray<dpi_set>& former)
{
    std::size_t lost = 0;
    // Offloaded ones first: no other flow must have their place.
    for (const dpi_head offloaded : {DPI_OFFLOADED, dpi_head{0}})
        for (auto& set : former.rows())
            for (unsigned way = 0; way < DPI_WAYS; ++way) {
                Place from{&set, way, 0};
                from.head = from.read_head();
                if (!is_there(from.head) || (from.head & DPI_OFFLOADED) != offloaded) continue;
                const auto flow = read(from);
                if (!flow) continue;
                const auto to = room_for(flow->key);
                if (!to) {
                    ++lost;
                    add_to_totals(*flow, label(*flow));
                    continue;
                }
                to->flow() = *flow;
                __atomic_store_n(&to->set->heads[to->way], from.head & ~DPI_VERSIONS, __ATOMIC_RELEASE);
            }
    return lost;
}

} // namespace evnf::dpi
