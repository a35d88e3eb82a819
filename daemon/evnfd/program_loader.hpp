// SPDX-License-Identifier: MIT
/// Loads copies of BPF objects so that they share maps: with each other, and with state that is there already.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <evnf/plugin.hpp>

#include "state.hpp"

namespace evnf {

/// Maps of one owner: those it made and those that it took over.
class OwnedMaps final : public Maps {
public:
    explicit OwnedMaps(std::string owner) : owner_{std::move(owner)} {}

    MapRef get(const std::string& name) const override;
    bool has(const std::string& name) const { return fds_.contains(name); }
    /// Keeps a duplicate of the descriptor.
    void add(const std::string& name, int fd);

private:
    std::string owner_;
    std::map<std::string, Fd> fds_;
};

class ProgramLoader {
public:
    /// Framework maps are those of `framework`, where it has them.
    explicit ProgramLoader(const StateStore& state, std::shared_ptr<OwnedMaps> framework = {});

    /// Loads one copy of an object for one place in a chain. The program's descriptor stays this object's. Throws
    /// with the owner, the reason and the verifier's last words.
    int load(std::unique_ptr<FastPath> copy, const std::string& owner, FastPathHook hook, const evnf_stage_config& config);

    bool has(const std::string& owner) const { return maps_.contains(owner); }
    /// Throws std::out_of_range when nothing was loaded for the owner.
    std::shared_ptr<OwnedMaps> maps(const std::string& owner) const;
    /// All state maps that its programs use.
    const std::set<StateKey>& state_maps() const noexcept { return state_maps_; }
    /// The state maps that were made, for the StateStore to keep when they go live.
    std::vector<StateStore::Made>& made() noexcept { return made_; }
    /// Takes the programs and maps of `owner` from `other` in place of its own, which are released.
    void take(ProgramLoader& other, const std::string& owner);

private:
    OwnedMaps& maps_of(const std::string& owner);
    void share_maps(bpf_object* object, const std::string& owner);
    void remember_maps(bpf_object* object, const std::string& owner);

    const StateStore& state_;
    std::map<std::string, std::shared_ptr<OwnedMaps>> maps_;                 ///< by owner
    std::map<std::string, std::vector<std::unique_ptr<FastPath>>> objects_; ///< by owner
    std::set<StateKey> state_maps_;
    std::vector<StateStore::Made> made_;
};

} // namespace evnf
