// SPDX-License-Identifier: MIT
/// State maps: what outlives generations and, when pinned, the daemon itself.
#pragma once

#include <spdlog/logger.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <evnf/bpf.hpp>
#include <evnf/packet_shared.h>
#include <evnf/slots.hpp>

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

/// A directory on bpffs that belongs to one daemon: mode 0700, ours, locked while we live.
class PinDirectory {
public:
    /// Creates it where it is missing. Throws when it is not on bpffs, belongs to somebody else, is open to others,
    /// or another daemon holds it.
    explicit PinDirectory(std::filesystem::path path);

    const std::filesystem::path& path() const noexcept { return path_; }
    /// Pins under a relative path, in place of what was there; directories are made.
    void pin(int fd, const std::filesystem::path& name) const;
    void rename(const std::filesystem::path& from, const std::filesystem::path& to) const;
    /// The object pinned there, or an empty Fd where there is none.
    Fd open(const std::filesystem::path& name) const;
    void unpin(const std::filesystem::path& name) const;
    /// The names in a directory of it; none where it is not there.
    std::vector<std::string> list(const std::filesystem::path& directory) const;
    void remove_all() const;

private:
    std::filesystem::path path_;
    Fd lock_;
};

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

    /// The map of that owner and name, of whatever shape.
    std::optional<MapRef> find(const std::string& owner, const std::string& name) const;
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
