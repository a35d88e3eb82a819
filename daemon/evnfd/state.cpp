// SPDX-License-Identifier: MIT
#include "state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "errno_hint.hpp"

namespace evnf {

namespace fs = std::filesystem;

namespace {

constexpr MapInfo kMetaInfo{BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(Meta), 1, 0};
constexpr MapInfo kPortNamesInfo{BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(SlotName), EVNF_MAX_PORTS, 0};
constexpr MapInfo kStageNamesInfo{BPF_MAP_TYPE_ARRAY, sizeof(__u32), sizeof(SlotName), EVNF_MAX_STAGES, 0};

bool differs_in_size_only(const MapInfo& a, const MapInfo& b)
{
    MapInfo same = a;
    same.max_entries = b.max_entries;
    return same == b && a != b;
}

bool is_hash(const MapInfo& info)
{
    return info.type == BPF_MAP_TYPE_HASH || info.type == BPF_MAP_TYPE_LRU_HASH;
}

Fd make_array(const std::string& name, const MapInfo& info)
{
    Fd fd{bpf_map_create(BPF_MAP_TYPE_ARRAY, ("evnf_" + name).substr(0, 15).c_str(), info.key_size, info.value_size,
                         info.max_entries, nullptr)};
    if (!fd) throw_with_hint(errno, fmt::format("cannot create map {}", name));
    return fd;
}

Fd make_names(const std::string& name, const MapInfo& info, const Slots::Plan& plan)
{
    Fd fd = make_array(name, info);
    for (const auto& [slot_name, slot] : plan.slots) {
        SlotName text{};
        slot_name.copy(text.text, kSlotNameSize - 1);
        MapRef{fd.get(), name}.update(slot, text);
    }
    return fd;
}

Fd make_meta(const Meta& meta)
{
    Fd fd = make_array("meta", kMetaInfo);
    MapRef{fd.get(), "meta"}.update(__u32{0}, meta);
    return fd;
}

} // namespace

std::optional<Meta> read_meta(const PinDirectory& pins, const fs::path& name)
{
    const Fd fd = pins.open(name);
    if (!fd) return std::nullopt;
    const MapRef map{fd.get(), "meta"};
    if (map.info() != kMetaInfo) return std::nullopt;
    const auto meta = map.find<Meta>(__u32{0});
    return meta && meta->version == kMetaVersion ? meta : std::nullopt;
}

fs::path state_pin(const std::string& owner, const std::string& name)
{
    return fs::path{"state"} / owner / name;
}

void copy_entries(const MapRef& from, const MapRef& to, spdlog::logger& log)
{
    const MapInfo old = from.info();
    if (!is_hash(old) || !differs_in_size_only(old, to.info())) return;
    std::uint64_t lost = 0;
    // By batches: a walk from key to key begins anew whenever its key is deleted, and traffic deletes many.
    from.for_each_bytes(old.key_size, old.value_size, [&](const void* key, const void* value) {
        const int error = bpf_map_update_elem(to.fd(), key, value, BPF_NOEXIST);
        if (error && error != -EEXIST) ++lost;
    });
    if (lost) log.warn("{} entries of {} found no room in the smaller map", lost, to.name());
}

StateStore::StateStore(const PinDirectory* pins, spdlog::logger& log) : pins_{pins}, log_{log}
{
    if (pins_) adopt();
    make_records();
}

/// Takes over what an earlier daemon pinned, unless it comes from a version that we do not understand. That stays
/// pinned until a generation of ours carries traffic: the other version may be started again.
void StateStore::adopt()
{
    const auto owners = pins_->list("state");
    if (owners.empty()) return;
    if (!read_meta(*pins_, state_pin(kFramework, "meta"))) {
        log_.warn("{}: state of another version of evnfd, or without its record: not adopted", (pins_->path() / "state").string());
        return;
    }
    for (const auto& owner : owners)
        for (const auto& name : pins_->list(fs::path{"state"} / owner)) maps_[{owner, name}] = pins_->open(state_pin(owner, name));
}

/// The records of a store that has none yet. They are pinned with the first generation's.
void StateStore::make_records()
{
    if (!fitting(kFramework, "meta", kMetaInfo)) maps_[{kFramework, "meta"}] = make_meta({.version = kMetaVersion});
    if (!fitting(kFramework, "port_names", kPortNamesInfo)) maps_[{kFramework, "port_names"}] = make_names("port_names", kPortNamesInfo, {});
    if (!fitting(kFramework, "stage_names", kStageNamesInfo)) maps_[{kFramework, "stage_names"}] = make_names("stage_names", kStageNamesInfo, {});
}

const Fd* StateStore::fitting(const std::string& owner, const std::string& name, const MapInfo& wanted) const
{
    const auto found = maps_.find({owner, name});
    if (found == maps_.end() || discarded_.contains(owner)) return nullptr;
    const MapInfo have = MapRef{found->second.get(), name}.info();
    if (have == wanted) return &found->second;
    if (differs_in_size_only(have, wanted))
        log_.info("{}: state map {} goes from {} to {} entries", owner, name, have.max_entries, wanted.max_entries);
    else
        log_.warn("{}: state map {} has another layout: its content is not kept", owner, name);
    return nullptr;
}

std::vector<StateStore::Made> StateStore::record(const Meta& meta, const Slots::Plan& ports, const Slots::Plan& stages) const
{
    std::vector<Made> made;
    made.push_back({kFramework, "port_names", make_names("port_names", kPortNamesInfo, ports)});
    made.push_back({kFramework, "stage_names", make_names("stage_names", kStageNamesInfo, stages)});
    made.push_back({kFramework, "meta", make_meta(meta)});
    return made;
}

void StateStore::copy_entries(const Made& made) const
{
    const auto found = maps_.find({made.owner, made.name});
    if (found == maps_.end() || discarded_.contains(made.owner)) return;
    evnf::copy_entries({found->second.get(), made.name}, {made.fd.get(), made.name}, log_);
}

void StateStore::prepare(const std::vector<Made>& made) const
{
    if (!pins_) return;
    pins_->unpin("next");
    for (const auto& map : made) pins_->pin(map.fd.get(), next(state_pin(map.owner, map.name)));
}

void StateStore::keep(std::vector<Made> made) noexcept
{
    try {
        if (pins_)
            for (const auto& map : made) pins_->rename(next(state_pin(map.owner, map.name)), state_pin(map.owner, map.name));
        if (pins_) pins_->unpin("next");
    } catch (const std::exception& error) {
        log_.error("the state of this generation is not all in its place yet, the next start puts it there: {}", error.what());
    }
    for (auto& map : made) maps_[{map.owner, map.name}] = std::move(map.fd);
    discarded_.clear();
}

void StateStore::abandon() const noexcept
try {
    if (pins_) pins_->unpin("next");
} catch (const std::exception& error) {
    log_.warn("pins of a generation that was given up remain: {}", error.what());
}

void StateStore::keep_only(const std::set<StateKey>& used) noexcept
try {
    std::map<std::string, std::set<std::string>> names{{kFramework, {"meta", "port_names", "stage_names"}}};
    for (const auto& [owner, name] : used) names[owner].insert(name);
    std::erase_if(maps_, [&](const auto& map) {
        const auto owner = names.find(map.first.first);
        return owner == names.end() || !owner->second.contains(map.first.second);
    });
    if (!pins_) return;
    for (const auto& owner : pins_->list("state"))
        if (names.contains(owner))
            pins_->keep_only(fs::path{"state"} / owner, names.at(owner));
        else
            pins_->unpin(fs::path{"state"} / owner);
} catch (const std::exception& error) {
    log_.warn("state that nothing uses any more remains: {}", error.what());
}

std::optional<MapRef> StateStore::find(const std::string& owner, const std::string& name) const
{
    const auto found = maps_.find({owner, name});
    if (found == maps_.end() || discarded_.contains(owner)) return std::nullopt;
    return MapRef{found->second.get(), name};
}

MapRef StateStore::get(const std::string& name) const
{
    return {maps_.at({kFramework, name}).get(), name};
}

Meta StateStore::meta() const
{
    return get("meta").find<Meta>(__u32{0}).value();
}

std::uint32_t StateStore::last_number() const
{
    return std::max(meta().generation, pins_ ? pins_->newest_chain() : 0);
}

bool StateStore::has_any(const std::string& owner) const
{
    return std::any_of(maps_.begin(), maps_.end(), [&](const auto& map) { return map.first.first == owner; });
}

} // namespace evnf
