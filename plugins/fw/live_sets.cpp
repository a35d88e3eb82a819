// SPDX-License-Identifier: MIT
#include "live_sets.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <stdexcept>
#include <utility>

namespace evnf::fw {

namespace {

constexpr std::size_t kRoom = 65536;
/// Changes that take some 0.2 s.
constexpr std::size_t kPart = 65536;

using GoesOn = std::function<void()>;

/// Visits all elements, and says after each part of them that it goes on.
template <class Element, class Visit>
void in_parts(const std::vector<Element>& elements, const GoesOn& goes_on, Visit visit)
{
    for (std::size_t i = 0; i < elements.size(); ++i) {
        visit(elements[i]);
        if ((i + 1) % kPart == 0) goes_on();
    }
}

void update_in_parts(const MapRef& map, const std::vector<fw_set_change>& keys, const std::vector<std::uint32_t>& values, const GoesOn& goes_on)
{
    for (std::size_t first = 0; first < keys.size(); first += kPart, goes_on()) {
        const auto part = [&](const auto& all) { return std::vector(all.begin() + static_cast<std::ptrdiff_t>(first), all.begin() + static_cast<std::ptrdiff_t>(std::min(first + kPart, all.size()))); };
        map.update_batch(part(keys), part(values));
    }
}

std::vector<std::string> names_of(const NamedSets& sets)
{
    std::vector<std::string> names;
    for (const auto& [name, set] : sets) names.push_back(name);
    return names;
}

fw_set_change key_of(const Prefix& prefix, std::uint32_t slot)
{
    return {prefix.address.raw, slot, prefix.length};
}

Prefix prefix_of(const fw_set_change& key)
{
    return {Address::from(key.address), static_cast<std::uint8_t>(key.length)};
}

/// Of prefixes one after the other; two numbers, so that no two configurations have both.
class Digest {
public:
    void add(std::uint64_t number)
    {
        a_ = (a_ ^ number) * 0x9e3779b97f4a7c15ull;
        a_ ^= a_ >> 29;
        b_ = (b_ + number) * 0xc2b2ae3d27d4eb4full;
        b_ ^= b_ >> 31;
    }
    std::string text() const { return fmt::format("{:016x}{:016x}", a_, b_); }

private:
    std::uint64_t a_ = 1, b_ = 2;
};

} // namespace

LiveSets::LiveSets(Sets configured, std::vector<std::string> asked) : asked_{std::move(asked)}, room_{kRoom}
{
    for (auto& [name, prefixes] : configured) sets_.emplace(name, std::make_shared<LiveSet>(std::move(prefixes)));
}

void LiveSets::change_like(const LiveSets& before)
{
    for (const auto& [name, set] : before.sets_)
        take_over(name, before.slots_.at(name), {set->added().begin(), set->added().end()}, {set->deleted().begin(), set->deleted().end()});
    room_ = std::max(room_, before.room_);
    refusals_ = before.refusals_;
}

void LiveSets::read_changes(const MapRef& names, const MapRef& changes)
{
    std::map<std::uint32_t, std::pair<std::vector<Prefix>, std::vector<Prefix>>> by_slot;
    changes.for_each<fw_set_change, std::uint32_t>([&](const fw_set_change& key, std::uint32_t kind) {
        auto& [added, deleted] = by_slot[key.slot];
        (kind == FW_SET_ADDED ? added : deleted).push_back(prefix_of(key));
    });
    std::map<std::uint32_t, std::string> name_of;
    const auto slots = Slots::read(names);
    for (const auto& [name, slot] : slots.all()) name_of.emplace(slot, name);
    for (auto& [slot, kinds] : by_slot) take_over(name_of[slot], slot, std::move(kinds.first), std::move(kinds.second));
}

void LiveSets::take_over(const std::string& name, std::uint32_t slot, std::vector<Prefix> added, std::vector<Prefix> deleted)
{
    if (added.empty() && deleted.empty()) return;
    const auto forget = [&](const std::vector<Prefix>& prefixes) {
        for (const auto& prefix : prefixes) stale_.push_back(key_of(prefix, slot));
    };
    if (const auto found = sets_.find(name); found != sets_.end()) return forget(found->second->change(std::move(added), std::move(deleted)));
    if (!name.empty()) gone_.insert(name);
    forget(added);
    forget(deleted);
}

LiveSets::Sizes LiveSets::build()
{
    if (asked_.empty()) return {};
    trees_ = SetTrees{asked_.size()};
    for (std::size_t number = 0; number < asked_.size(); ++number)
        sets_.at(asked_[number])->for_each([&](const Prefix& prefix) { trees_.insert(number, prefix); });
    return {asked_.size(), trees_.pages_for(room_), trees_.records_for(room_)};
}

void LiveSets::fill(const Maps& maps)
{
    slots_ = Slots::read(maps.get("fw_set_names"));
    plan_ = slots_.plan(names_of(sets_));
    if (asked_.empty()) return;
    // They may be in other maps, of a generation that did not come to be.
    MappedArray<fw_set_roots> roots{maps.get("fw_set_roots"), asked_.size()};
    MappedArray<fw_set_page> pages{maps.get("fw_set_pages"), trees_.pages_for(room_)};
    MappedArray<fw_set_record> records{maps.get("fw_set_records"), trees_.records_for(room_)};
    trees_.move_to(roots.rows(), pages.rows(), records.rows());
    roots_ = std::move(roots);
    pages_ = std::move(pages);
    records_ = std::move(records);
    version_ = MappedArray<std::uint64_t>{maps.get("fw_set_version"), 1};
}

void LiveSets::commit(const Maps& maps)
{
    changes_ = maps.get("fw_set_changes");
    for (const auto& key : stale_) changes_->erase(key);
    slots_.commit(*plan_, maps.get("fw_set_names"));
    stale_ = {};
}

LiveSet& LiveSets::find(std::string_view name)
{
    return const_cast<LiveSet&>(get(name));
}

const LiveSet& LiveSets::get(std::string_view name) const
{
    if (const auto found = sets_.find(name); found != sets_.end()) return *found->second;
    if (sets_.empty()) throw std::runtime_error{fmt::format("there is no set '{}': the configuration has none", name)};
    throw std::runtime_error{fmt::format("there is no set '{}' in the configuration; there are {}", name, fmt::join(names_of(sets_), ", "))};
}

std::optional<std::size_t> LiveSets::number_of(std::string_view name) const
{
    const auto found = std::find(asked_.begin(), asked_.end(), name);
    return found == asked_.end() ? std::nullopt : std::optional{static_cast<std::size_t>(found - asked_.begin())};
}

std::size_t LiveSets::tree_bytes(std::string_view name) const
{
    const auto number = number_of(name);
    return number ? trees_.bytes(*number) : 0;
}

std::size_t LiveSets::changes() const
{
    std::size_t sum = 0;
    for (const auto& [name, set] : sets_) sum += set->added().size() + set->deleted().size();
    return sum;
}

void LiveSets::change(std::string_view name, const std::vector<Prefix>& added, const std::vector<Prefix>& deleted, const GoesOn& goes_on)
{
    LiveSet& set = find(name);
    const auto is_undone = [](const std::set<Prefix>& changes) { return [&](const Prefix& prefix) { return changes.contains(prefix); }; };
    const auto undone = std::count_if(added.begin(), added.end(), is_undone(set.deleted())) + std::count_if(deleted.begin(), deleted.end(), is_undone(set.added()));
    if (changes() + added.size() + deleted.size() > FW_SET_CHANGES + 2 * static_cast<std::size_t>(undone))
        throw std::runtime_error{fmt::format("at most {} changes of sets are kept beside the configuration: put them into the configuration and reload",
                                             +FW_SET_CHANGES)};
    const auto number = number_of(name);
    if (number) make_room(set, added, deleted);
    remember(set, slots_.at(std::string{name}), added, deleted, goes_on);
    in_parts(added, goes_on, [&](const Prefix& prefix) {
        set.add(prefix);
        if (number) trees_.insert(*number, prefix), count_change();
    });
    in_parts(deleted, goes_on, [&](const Prefix& prefix) {
        set.erase(prefix);
        if (number && !set.covering(prefix)) trees_.erase(*number, prefix, set.inside(prefix)), count_change();
    });
}

void LiveSets::count_change()
{
    std::atomic_ref{version_.rows().front()}.fetch_add(1, std::memory_order_release);
}

void LiveSets::make_room(const LiveSet& set, const std::vector<Prefix>& added, const std::vector<Prefix>& deleted)
{
    std::size_t changes = added.size();
    for (const auto& prefix : deleted) changes += set.count_inside(prefix);
    if (trees_.has_room(changes, wait_for_packets_in_flight)) return;
    ++refusals_;
    room_ = std::max(room_, changes + kRoom);
    throw std::runtime_error{fmt::format("the fast path has no room for {} more prefixes in sets: 'evnfctl reload' makes room, then try again", changes)};
}

/// All of it, or nothing and an exception.
void LiveSets::remember(const LiveSet& set, std::uint32_t slot, const std::vector<Prefix>& added, const std::vector<Prefix>& deleted,
                        const GoesOn& goes_on) const
{
    std::vector<fw_set_change> fresh, undone;
    std::vector<std::uint32_t> kinds, undone_kinds;
    for (const auto& prefix : added) {
        const bool comes_back = set.deleted().contains(prefix);
        (comes_back ? undone : fresh).push_back(key_of(prefix, slot));
        comes_back ? undone_kinds.push_back(FW_SET_DELETED) : kinds.push_back(FW_SET_ADDED);
    }
    for (const auto& prefix : deleted) {
        const bool goes_back = set.added().contains(prefix);
        (goes_back ? undone : fresh).push_back(key_of(prefix, slot));
        goes_back ? undone_kinds.push_back(FW_SET_ADDED) : kinds.push_back(FW_SET_DELETED);
    }
    const auto erase = [&](const fw_set_change& key) { changes_->erase(key); };
    try {
        update_in_parts(*changes_, fresh, kinds, goes_on);
        in_parts(undone, goes_on, erase);
    } catch (...) {
        in_parts(fresh, goes_on, erase);
        update_in_parts(*changes_, undone, undone_kinds, goes_on);
        throw;
    }
}

std::string LiveSets::inputs() const
{
    std::string text = fmt::format("{}", refusals_);
    for (const auto& [name, set] : sets_) {
        Digest digest;
        for (const auto& prefix : set->configured()) {
            digest.add(prefix.address.raw.halves[0]);
            digest.add(prefix.address.raw.halves[1]);
            digest.add(prefix.length);
        }
        text += fmt::format(" {}:{}:{}", name, set->configured().size(), digest.text());
    }
    return text;
}

} // namespace evnf::fw
