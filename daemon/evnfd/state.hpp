// SPDX-License-Identifier: MIT
/// State maps: what outlives generations and, when pinned, the daemon itself.
#pragma once

#include <spdlog/logger.h>

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
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
    std::uint32_t generation;               ///< that carries traffic
    std::uint32_t layouts[EVNF_MAX_STAGES]; ///< of each plugin's state maps, by stage index
};
inline constexpr std::uint32_t kMetaVersion = 1;

/// The state maps by owner ("evnf" or a plugin's instance) and name. With a pin directory it starts from the
/// maps pinned there and pins what is kept; without one it lives as long as this object.
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
    /// Copies into `made` the entries of the map that it replaces, where the two differ in size only. Entries that
    /// are there already stay as they are: called once before the swap, and once more for what came meanwhile.
    void copy_entries(const Made& made) const;
    /// The part of keep() that can fail: pins beside what is pinned now.
    void prepare(const std::vector<Made>& made) const;
    void keep(std::vector<Made> made);
    /// Undoes prepare().
    void abandon(const std::vector<Made>& made) const noexcept;

    MapRef names_of_ports() const { return get("port_names"); }
    MapRef names_of_stages() const { return get("stage_names"); }
    Meta meta() const;
    void write_meta(const Meta& meta) const;
    /// State of this owner is of another layout: fitting() gives nothing for it until its new maps are kept.
    void discard(const std::string& owner) { discarded_.insert(owner); }
    /// Removes the state of an owner that is no longer configured.
    void forget(const std::string& owner);

private:
    MapRef get(const std::string& name) const;
    void adopt();
    void create(const std::string& name, std::uint32_t value_size, std::uint32_t entries);

    const PinDirectory* pins_;
    spdlog::logger& log_;
    std::map<std::pair<std::string, std::string>, Fd> maps_;
    std::set<std::string> discarded_;
};

} // namespace evnf
