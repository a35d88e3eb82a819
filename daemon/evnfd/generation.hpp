// SPDX-License-Identifier: MIT
/// A generation: one complete set of loaded programs, their maps and the PROG_ARRAY that wires them. Nothing of it
/// can be reached by a packet until a port's link is pointed at its entry program.
#pragma once

#include <sched.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "instance.hpp"
#include "settings.hpp"
#include "state.hpp"

namespace evnf {

/// A port's interface as it is now.
struct PortLink {
    std::uint32_t ifindex = 0;
    std::array<std::uint8_t, 6> mac{};
};

/// A plugin with the settings that a candidate configuration has for it.
struct StagedPlugin {
    std::shared_ptr<Instance> instance;
    std::unique_ptr<Staged> staged;
    OnError on_error;
    Orphan orphan;
    std::uint32_t stage = 0; ///< index in evnf_stages
};

/// What a generation is made of.
struct Blueprint {
    std::uint32_t number = 0;
    Settings settings;
    Slots::Plan ports{}, stages{};
    std::map<std::string, StagedPlugin> plugins;
    std::map<std::string, PortLink> links; ///< of the ports that exist; empty when nothing is attached
    bool dry_run = false;                  ///< the forwarder decides and does nothing
};

class Generation {
public:
    /// Loads, wires, fills and tests everything. Throws with the object, the reason and the verifier's last words.
    Generation(const Blueprint& blueprint, const StateStore& state);
    ~Generation();

    std::uint32_t number() const noexcept { return number_; }
    /// The entry programs by port; the descriptors are this object's.
    const std::map<std::string, int>& entries() const noexcept { return entries_; }
    int entry(const std::string& port) const { return entries_.at(port); }
    /// A map of the framework, named evnf_*.
    MapRef framework_map(const std::string& name) const;
    /// Throws std::out_of_range when the instance is in no chain.
    std::shared_ptr<const Maps> maps(const std::string& instance) const;
    /// The state maps that this generation made, for the StateStore to keep when it goes live.
    std::vector<StateStore::Made>& made() noexcept { return made_; }

    /// Tells the programs what has become of a port's interface. Port by index.
    void set_port(std::uint32_t port, const PortLink& link) const;
    void set_routing(const evnf_routing& routing) const;
    /// The slow path of a stage counts as alive until then. Jiffies.
    void set_heartbeat(std::uint32_t stage, std::uint64_t deadline) const;

private:
    class OwnedMaps;
    using Bases = std::map<std::vector<std::string>, std::uint32_t>; ///< first slot, by chain

    OwnedMaps& maps_of(const std::string& owner);
    void share_maps(bpf_object* object, const std::string& owner, const StateStore& state);
    void remember_maps(bpf_object* object, const std::string& owner);
    int load(std::unique_ptr<FastPath> copy, const std::string& owner, const evnf_stage_config& config,
             const StateStore& state);
    Bases load_chains(const Blueprint& blueprint, const StateStore& state);
    void load_chain(const Blueprint& blueprint, const std::vector<std::string>& chain, std::uint32_t base,
                    const StateStore& state);
    void load_entries(const Blueprint& blueprint, const Bases& bases, const StateStore& state);
    static std::uint64_t skip_mask(const Blueprint& blueprint, const std::vector<std::string>& chain, std::size_t from);
    void fill_framework(const Blueprint& blueprint);
    void test(const Blueprint& blueprint) const;

    std::uint32_t number_;
    std::map<std::string, std::shared_ptr<OwnedMaps>> maps_; ///< by owner
    std::vector<std::unique_ptr<FastPath>> objects_;
    std::map<std::string, int> entries_;
    std::vector<std::uint16_t> wires_; ///< the other end, by port index
    std::vector<StateStore::Made> made_;
};

/// Keeps the calling thread on the CPU that it is on, so that it can read what a program left in a per-CPU map.
class PinnedToCpu {
public:
    PinnedToCpu();
    ~PinnedToCpu();
    PinnedToCpu(const PinnedToCpu&) = delete;
    PinnedToCpu& operator=(const PinnedToCpu&) = delete;
    int cpu() const noexcept { return cpu_; }

private:
    cpu_set_t before_;
    int cpu_;
};

} // namespace evnf
