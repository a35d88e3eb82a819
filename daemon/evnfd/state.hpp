// SPDX-License-Identifier: MIT
/// State maps: what outlives generations and, when pinned, the daemon itself.
#pragma once

#include <spdlog/logger.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <evnf/bpf.hpp>
#include <evnf/packet_shared.h>
#include <evnf/slots.hpp>

#include "pin_directory.hpp"

namespace evnf {

/// The owner of the framework's own maps.
inline constexpr const char* kFramework = "evnf";

/// What a pin directory holds, in one array element (map `meta`).
struct Meta {
    std::uint32_t version;                  ///< kMetaVersion; another number: nothing in the directory is used
    std::uint32_t generation;               ///< that the state belongs to
    std::uint32_t layouts[EVNF_MAX_STAGES]; ///< of each plugin's state maps, by stage index
};
inline constexpr std::uint32_t kMetaVersion = 1;

/// The record pinned there; nothing where there is none, or one of another version.
std::optional<Meta> read_meta(const PinDirectory& pins, const std::filesystem::path& name);

/// Where a state map is pinned.
std::filesystem::path state_pin(const std::string& owner, const std::string& name);

/// Copies the entries of a hash map into one that differs from it in size only; of other maps nothing. Entries that
/// are there already stay as they are.
void copy_entries(const MapRef& from, const MapRef& to, spdlog::logger& log);

/// A state map: its owner ("evnf" or a plugin's instance) and its name.
using StateKey = std::pair<std::string, std::string>;

/// The state maps. With a pin directory it starts from the maps pinned there and pins what is kept; without one it
/// lives as long as this object. Nothing that is pinned changes before keep().
class StateStore {
public:
    StateStore(const PinDirectory* pins, spdlog::logger& log);

    /// The map of `owner` that can serve as `wanted`; null where there is none, with a message where there is one
    /// of another shape.
    const Fd* fitting(const std::string& owner, const std::string& name, const MapInfo& wanted) const;

    /// A map made for a generation, to be kept from commit() on.
    struct Made {
        std::string owner, name;
        Fd fd;
    };
    /// What the next daemon must know of a generation, as maps that are kept with its others. `meta` is the last.
    std::vector<Made> record(const Meta& meta, const Slots::Plan& ports, const Slots::Plan& stages) const;
    /// Copies into `made` the entries of the map that it replaces, where the two differ in size only: called once
    /// before the swap, and once more for what came meanwhile.
    void copy_entries(const Made& made) const;
    /// The part of keep() that can fail: pins them as the next ones, in order.
    void prepare(const std::vector<Made>& made) const;
    /// Puts them in charge, in order. A pin that cannot be renamed stays in next/, as do those after it: the next
    /// start goes on there.
    void keep(std::vector<Made> made) noexcept;
    /// Undoes prepare().
    void abandon() const noexcept;
    /// Removes all state but that of `used` and the framework's records.
    void keep_only(const std::set<StateKey>& used) noexcept;

    /// The map of that owner and name, of whatever shape, unless it was discarded.
    std::optional<MapRef> find(const std::string& owner, const std::string& name) const;
    MapRef names_of_ports() const { return get("port_names"); }
    MapRef names_of_stages() const { return get("stage_names"); }
    Meta meta() const;
    /// Of all generations that have carried traffic or were about to.
    std::uint32_t last_number() const;
    bool has_any(const std::string& owner) const;
    /// State of these owners is of another layout: fitting() gives nothing for them until their new maps are kept.
    void discard(std::set<std::string> owners) { discarded_ = std::move(owners); }

private:
    MapRef get(const std::string& name) const;
    void adopt();
    void make_records();

    const PinDirectory* pins_;
    spdlog::logger& log_;
    std::map<StateKey, Fd> maps_;
    std::set<std::string> discarded_;
};

} // namespace evnf
