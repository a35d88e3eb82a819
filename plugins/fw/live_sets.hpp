// SPDX-License-Identifier: MIT
/// The sets of an instance, which are changed while packets are matched with them.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/mapped_array.hpp>
#include <evnf/plugin.hpp>
#include <evnf/slots.hpp>

#include "addresses.hpp"
#include "live_set.hpp"
#include "set_trees.hpp"

namespace evnf::fw {

class LiveSets {
public:
    LiveSets() = default;
    /// `asked`: names of the sets that rules ask for, by the number of their bit.
    LiveSets(Sets configured, std::vector<std::string> asked);

    // On the way to be live, in this order.

    /// Takes over the changes of the sets that are live.
    void change_like(const LiveSets& before);
    /// Takes over the changes that an earlier daemon has left.
    void read_changes(const MapRef& names, const MapRef& changes);
    /// Elements that the maps of the fast path must have, and 0 where no rule asks for a set.
    struct Sizes {
        std::size_t roots, pages, records;
    };
    Sizes build();
    /// Fills the maps, of those sizes.
    void fill(const Maps& maps);
    /// State: names, and no changes but those that were taken over.
    void commit(const Maps& maps);
    /// Sets that are gone and had changes.
    const std::set<std::string>& gone() const { return gone_; }

    // Live.

    const NamedSets& all() const { return sets_; }
    /// Throws std::runtime_error, which says what there is.
    const LiveSet& get(std::string_view name) const;
    /// Adds what is no member and deletes what is one, and remembers it beyond the daemon's life. Throws std::runtime_error where there is
    /// no room for it; then nothing has changed. A million changes take seconds: `goes_on` is called after each part of them.
    void change(std::string_view name, const std::vector<Prefix>& added, const std::vector<Prefix>& deleted, const std::function<void()>& goes_on);

    /// Text that differs where the configured sets do, or where a reload is wanted that makes room.
    std::string inputs() const;
    /// Bytes of memory that the set takes in the fast path.
    std::size_t tree_bytes(std::string_view name) const;

private:
    LiveSet& find(std::string_view name);
    /// The set's bit in rules, if they ask for it.
    std::optional<std::size_t> number_of(std::string_view name) const;
    std::size_t changes() const;
    void take_over(const std::string& name, std::uint32_t slot, std::vector<Prefix> added, std::vector<Prefix> deleted);
    void make_room(const LiveSet& set, const std::vector<Prefix>& added, const std::vector<Prefix>& deleted);
    void remember(const LiveSet& set, std::uint32_t slot, const std::vector<Prefix>& added, const std::vector<Prefix>& deleted,
                  const std::function<void()>& goes_on) const;
    /// A set has changed in the fast path: what was answered before counts no more.
    void count_change();

    NamedSets sets_;
    std::vector<std::string> asked_;
    std::size_t room_ = 0;     ///< changes that find room for certain, to begin with
    std::size_t refusals_ = 0; ///< for lack of room, since the daemon's start
    SetTrees trees_{0};
    MappedArray<fw_set_roots> roots_;
    MappedArray<fw_set_page> pages_;
    MappedArray<fw_set_record> records_;
    MappedArray<std::uint64_t> version_;
    Slots slots_{FW_SET_NAMES};
    std::optional<Slots::Plan> plan_;
    std::vector<fw_set_change> stale_; ///< changes that are to be forgotten with the commit
    std::set<std::string> gone_;
    std::optional<MapRef> changes_;
};

} // namespace evnf::fw
