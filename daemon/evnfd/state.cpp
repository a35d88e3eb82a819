// SPDX-License-Identifier: MIT
#include "state.hpp"

#include <fmt/format.h>

#include <cstring>

#include "errno_hint.hpp"

namespace evnf {

namespace fs = std::filesystem;

namespace {

fs::path pin_name(const std::string& owner, const std::string& name)
{
    return fs::path{"state"} / owner / name;
}

/// Ends the name of a pin beside the map that it will replace; left over only by a crash, and then ignored.
/// No map is named so, and bpffs allows no dots.
constexpr std::string_view kNext = "-next";

fs::path next_pin_name(const StateStore::Made& made)
{
    return pin_name(made.owner, made.name + std::string{kNext});
}

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

} // namespace

StateStore::StateStore(const PinDirectory* pins, spdlog::logger& log) : pins_{pins}, log_{log}
{
    if (pins_) adopt();
    create("meta", sizeof(Meta), 1);
    create("port_names", sizeof(SlotName), EVNF_MAX_PORTS);
    create("stage_names", sizeof(SlotName), EVNF_MAX_STAGES);
}

/// Takes over what an earlier daemon pinned, unless it comes from a version that we do not understand.
void StateStore::adopt()
{
    const auto root = pins_->path() / "state";
    if (!fs::exists(root)) return;
    for (const auto& owner : fs::directory_iterator{root})
        for (const auto& map : fs::directory_iterator{owner.path()}) {
            if (map.path().filename().string().ends_with(kNext)) continue;
            const auto key = std::pair{owner.path().filename().string(), map.path().filename().string()};
            try {
                maps_[key] = pins_->open(pin_name(key.first, key.second));
            } catch (const std::system_error& error) {
                log_.warn("{}: not a map that can be adopted, replaced: {}", map.path().string(), error.what());
            }
        }
    const auto found = maps_.find({kFramework, "meta"});
    const bool known = found != maps_.end() && MapRef{found->second.get(), "meta"}.info().value_size == sizeof(Meta);
    if (known && meta().version == kMetaVersion) return;
    if (!maps_.empty()) log_.warn("{}: state of another version of evnfd: not adopted", root.string());
    maps_.clear();
}

void StateStore::create(const std::string& name, std::uint32_t value_size, std::uint32_t entries)
{
    const MapInfo wanted{BPF_MAP_TYPE_ARRAY, sizeof(__u32), value_size, entries, 0};
    if (fitting(kFramework, name, wanted)) return;
    Fd fd{bpf_map_create(BPF_MAP_TYPE_ARRAY, ("evnf_" + name).substr(0, 15).c_str(), wanted.key_size, value_size,
                         entries, nullptr)};
    if (!fd) throw_with_hint(errno, fmt::format("cannot create map {}", name));
    std::vector<Made> made;
    made.push_back({kFramework, name, std::move(fd)});
    prepare(made);
    keep(std::move(made));
}

const Fd* StateStore::fitting(const std::string& owner, const std::string& name, const MapInfo& wanted) const
{
    const auto found = maps_.find({owner, name});
    if (found == maps_.end() || discarded_.contains(owner)) return nullptr;
    const MapInfo have = MapRef{found->second.get(), name}.info();
    if (have == wanted) return &found->second;
    if (is_hash(have) && differs_in_size_only(have, wanted))
        log_.info("{}: state map {} goes from {} to {} entries", owner, name, have.max_entries, wanted.max_entries);
    else
        log_.warn("{}: state map {} has another layout: its content is not kept", owner, name);
    return nullptr;
}

void StateStore::copy_entries(const Made& made) const
{
    const auto found = maps_.find({made.owner, made.name});
    if (found == maps_.end() || discarded_.contains(made.owner)) return;
    const MapRef from{found->second.get(), made.name}, to{made.fd.get(), made.name};
    const MapInfo old = from.info();
    if (!is_hash(old) || !differs_in_size_only(old, to.info())) return;
    std::vector<char> key(old.key_size), next(old.key_size), value(old.value_size);
    std::uint64_t lost = 0;
    for (int more = bpf_map_get_next_key(from.fd(), nullptr, next.data()); more == 0;
         more = bpf_map_get_next_key(from.fd(), key.data(), next.data())) {
        key = next;
        if (bpf_map_lookup_elem(from.fd(), key.data(), value.data()) != 0) continue;
        const int error = bpf_map_update_elem(to.fd(), key.data(), value.data(), BPF_NOEXIST);
        if (error && error != -EEXIST) ++lost;
    }
    if (lost) log_.warn("{}: {} entries of {} found no room in the smaller map", made.owner, lost, made.name);
}

void StateStore::prepare(const std::vector<Made>& made) const
{
    if (!pins_) return;
    for (const auto& map : made) pins_->pin(map.fd.get(), next_pin_name(map));
}

void StateStore::keep(std::vector<Made> made)
{
    for (auto& map : made) {
        if (pins_) pins_->rename(next_pin_name(map), pin_name(map.owner, map.name));
        discarded_.erase(map.owner);
        maps_[{map.owner, map.name}] = std::move(map.fd);
    }
}

void StateStore::abandon(const std::vector<Made>& made) const noexcept
try {
    if (!pins_) return;
    for (const auto& map : made) pins_->unpin(next_pin_name(map));
} catch (const std::exception& error) {
    log_.warn("pins of a generation that was given up remain: {}", error.what());
}

void StateStore::forget(const std::string& owner)
{
    for (auto map = maps_.begin(); map != maps_.end();) {
        if (map->first.first != owner) {
            ++map;
            continue;
        }
        if (pins_) pins_->unpin(pin_name(owner, map->first.second));
        map = maps_.erase(map);
    }
}

MapRef StateStore::get(const std::string& name) const
{
    return {maps_.at({kFramework, name}).get(), name};
}

Meta StateStore::meta() const
{
    return get("meta").find<Meta>(__u32{0}).value();
}

void StateStore::write_meta(const Meta& meta) const
{
    get("meta").update(__u32{0}, meta);
}

} // namespace evnf
