// SPDX-License-Identifier: MIT
/// A generation: one complete set of loaded programs, their maps and the PROG_ARRAY that wires them. Nothing of it
/// can be reached by a packet until a port's link is pointed at its entry program.
#pragma once

#include <sched.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "chain_layout.hpp"
#include "instance.hpp"
#include "program_loader.hpp"
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
    std::set<std::string> bridged;         ///< ports whose chain must run at tc while they change from one XDP mode to another
    std::uint32_t slot = 0;                ///< in evnf_generations; 0: nothing comes back
    bool dry_run = false;                  ///< the forwarder decides and does nothing
};

class Generation;

/// A port's entry programs; -1 where the chain is not loaded for that hook. The descriptors are the generation's.
struct Entries {
    int xdp = -1, tc = -1;
};

/// Where a program of a plugin stands, and what it was loaded with.
struct Place {
    FastPathHook hook;
    std::uint32_t slot;
    evnf_stage_config config;
    int program; ///< the descriptor is the generation's
};

/// One plugin's programs and maps, loaded to take the places of those that a generation has of it.
class Replacement {
public:
    /// Loads and fills them; no packet can reach them yet. Throws as Generation does.
    Replacement(const Generation& generation, const std::string& instance, Staged& staged, const StateStore& state);

    const std::string& instance() const noexcept { return instance_; }
    /// State of another shape goes live with a whole generation only.
    bool makes_state() { return !loader_.made().empty(); }

private:
    friend class Generation;
    std::string instance_;
    ProgramLoader loader_;
    std::vector<Place> places_;
};

class Generation {
public:
    /// Loads, wires, fills and tests everything. Throws with the object, the reason and the verifier's last words.
    Generation(const Blueprint& blueprint, const StateStore& state);
    ~Generation();

    std::uint32_t number() const noexcept { return number_; }
    const std::map<std::string, Entries>& entries() const noexcept { return entries_; }
    /// At tc ingress of ports whose chain runs at XDP (bpf/handover.bpf.c).
    int handover() const noexcept { return handover_; }
    /// At tc egress of every interface (bpf/resume.bpf.c).
    int resume() const noexcept { return resume_; }
    /// Whether packets can come back from the kernel into this generation, as long as it is open to them.
    bool can_resume() const noexcept { return reentry_ >= 0; }
    void open_reentry() const;
    void close_reentry() const;
    /// Whether packets may come back to another generation, of this or of an earlier daemon.
    bool others_can_resume() const;
    /// Nothing comes back to any other generation any more.
    void close_other_reentries() const;
    /// Its PROG_ARRAYs, one or two: who holds their descriptors keeps the chains alive.
    std::vector<MapRef> chains() const;
    /// A map of the framework, named evnf_*.
    MapRef framework_map(const std::string& name) const;
    bool has_framework_map(const std::string& name) const;
    /// Throws std::out_of_range when the instance is in no chain.
    std::shared_ptr<const Maps> maps(const std::string& instance) const { return loader_.maps(instance); }
    /// All state maps that its programs use.
    const std::set<StateKey>& state_maps() const noexcept { return loader_.state_maps(); }
    /// Puts the replacement's programs in the places of the plugin's own, and gives these up. A packet meets the plugin
    /// once, so it meets one version of it. What is around the places is as it was when the self-test proved it. Throws,
    /// and all is as before.
    void replace(Replacement replacement);
    /// It carries another configuration now.
    void renumber(std::uint32_t number) noexcept { number_ = number; }
    /// The state maps that this generation made, for the StateStore to keep when it goes live.
    std::vector<StateStore::Made>& made() noexcept { return loader_.made(); }

    /// Tells the programs what has become of a port's interface. Port by index.
    void set_port(std::uint32_t port, const PortLink& link) const;
    /// Tells what packets begin with that come back at an interface, and forgets all interfaces but those given.
    void set_link(std::uint32_t ifindex, evnf_link frames) const;
    void keep_links(const std::function<bool(std::uint32_t ifindex)>& is_there) const;
    void set_routing(const evnf_routing& routing) const;
    /// The slow path of a stage counts as alive until then. Jiffies.
    void set_heartbeat(std::uint32_t stage, std::uint64_t deadline) const;

private:
    friend class Replacement;
    void load_chain(const Blueprint& blueprint, const Chain& chain, FastPathHook hook);
    void load_entries(const Blueprint& blueprint);
    void load_handover(const Blueprint& blueprint);
    evnf_stage_config stage_config(const Blueprint& blueprint, const Chain& chain, std::uint32_t position) const;
    static std::uint64_t skip_mask(const Blueprint& blueprint, const std::vector<std::string>& chain, std::size_t from);
    void fill_framework(const Blueprint& blueprint);
    void test(const Blueprint& blueprint) const;
    void test(const Blueprint& blueprint, const PortSettings& port, int entry) const;

    std::uint32_t number_, slot_;
    ChainLayout layout_;
    ProgramLoader loader_;
    std::map<std::string, std::vector<Place>> places_; ///< by instance
    std::map<std::string, Entries> entries_;
    int handover_ = -1, resume_ = -1, reentry_ = -1;
    std::vector<std::uint16_t> wires_; ///< the other end, by port index
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
