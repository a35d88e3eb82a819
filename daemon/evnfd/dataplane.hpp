// SPDX-License-Identifier: MIT
/// The configuration transaction: stage, load, (swap,) commit. Used alike by the daemon, by --check and by --replay.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "change.hpp"
#include "generation.hpp"

namespace evnf {

using Instances = std::map<std::string, std::shared_ptr<Instance>>;

/// Reads a configuration and lets every plugin validate its part; touches nothing that is live. Plugins that run
/// already are taken from `running`. Throws ConfigError with every problem of the file; warnings go to the log.
Blueprint stage(const Settings& settings, Problems& problems, const Instances& running, const InstanceContext& context,
                const Slots& ports, const Slots& stages);

/// `evnfd --check`: all problems of the file, without touching the system.
void check_configuration(const std::string& file, const InstanceContext& context);

/// Without a beat for so long, the slow path counts as dead.
inline constexpr unsigned kHeartbeatSeconds = 3;

/// The running configuration: its plugins, its state and its generation.
class Dataplane {
public:
    /// `pins` may be null: then nothing outlives this object. `dry_run`: attached to nothing, the forwarder decides only.
    Dataplane(InstanceContext context, const PinDirectory* pins, bool dry_run);
    ~Dataplane();

    /// A configuration on its way: staged, then loaded as a generation or, where only one plugin's settings differ from
    /// what runs, as the replacement of that plugin's part.
    struct Candidate {
        Blueprint blueprint;
        std::unique_ptr<Generation> generation;
        std::unique_ptr<Replacement> replacement;
    };

    /// Stages the configuration; `links` are the ports' interfaces. Throws ConfigError.
    Candidate stage_file(const std::string& file) const;
    Candidate stage_text(const std::string& yaml, const std::string& name) const;
    /// Loads the candidate's generation or replacement, starts new plugins and prepares pins: the last step that can fail. On
    /// failure everything is as before.
    void load(Candidate& candidate);
    /// Puts the candidate's replacement in charge: all of the way from load() to commit(). Throws, and all is as before.
    void replace(Candidate& candidate);
    /// The candidate's generation carries traffic now: makes it the running configuration. Gives the old generation once no packet
    /// is in its programs; those that are in the kernel's hands may come back to it as long as it is kept.
    std::unique_ptr<Generation> commit(Candidate candidate);
    /// Gives up a loaded candidate.
    void abandon(const Candidate& candidate) noexcept;

    /// Says to the fast path that the slow path of each plugin lives, where it does: to be called every second.
    void beat() const;

    bool running() const noexcept { return generation_ != nullptr; }
    const Generation& generation() const { return *generation_; }
    const Settings& settings() const { return settings_; }
    const Instances& instances() const { return instances_; }
    const Slots& ports() const { return ports_; }
    const Slots& stages() const { return stages_; }
    /// "entry", "forwarder" or the instance at that index of evnf_stages.
    std::string stage_name(std::uint32_t stage) const;

private:
    Candidate finish_staging(const Settings& settings, Problems& problems) const;
    std::uint64_t heartbeat_deadline() const;
    void discard_foreign_state(const Blueprint& blueprint);
    std::unique_ptr<Replacement> load_replacement(const Blueprint& blueprint) const;
    void prepare_state(Candidate& candidate) const;
    std::uint32_t free_slot(std::uint32_t number) const;

    InstanceContext context_;
    const PinDirectory* pins_;
    bool dry_run_;
    StateStore state_;
    Slots ports_, stages_;
    Settings settings_;
    Traits traits_{};
    Instances instances_;
    std::unique_ptr<Generation> generation_;
};

} // namespace evnf
