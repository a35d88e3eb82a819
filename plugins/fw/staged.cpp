// SPDX-License-Identifier: MIT
#include "staged.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <evnf/mapped_array.hpp>
#include <evnf/slots.hpp>

#include <algorithm>

#include "compiler.hpp"
#include "fw_bpf.skel.h"
#include "fw_tc_bpf.skel.h"

namespace evnf::fw {

namespace {

static_assert(sizeof(fw_rule_name) == sizeof(SlotName));

std::vector<std::string> names_of(const std::vector<Rule>& rules)
{
    std::vector<std::string> names;
    for (const auto& rule : rules) names.push_back(rule.name);
    return names;
}

/// Copies a whole table: an update for each of 65537 rows would take tens of milliseconds.
template <class Row>
void write_rows(const MapRef& array, const std::vector<Row>& rows)
{
    if (rows.empty()) return;
    const MappedArray<Row> memory{array, rows.size()};
    std::copy(rows.begin(), rows.end(), memory.rows().begin());
}

/// Calls `visit(name, rows)` for each table that is a map of that name.
template <class Visit>
void for_each_table(const Tables& tables, Visit visit)
{
    visit("fw_blocks4", tables.blocks4);
    visit("fw_blocks6", tables.blocks6);
    visit("fw_spans6", tables.spans6);
    visit("fw_points", tables.points);
    visit("fw_ports", tables.ports);
    visit("fw_protocols", tables.protocols);
    visit("fw_rows", tables.rows);
    visit("fw_groups", tables.groups);
    visit("fw_tuples", tables.tuples);
    visit("fw_buckets", tables.buckets);
    visit("fw_entries", tables.entries);
}

class FwStaged final : public Staged {
public:
    FwStaged(Policy policy, PortNames ports, Live& live, Host& host, std::function<void()> when_live)
        : policy_{std::move(policy)},
          ports_{std::move(ports)},
          tables_{compile(policy_.rules)},
          sets_{std::move(policy_.sets), tables_.sets},
          timeouts_{timeouts_of(policy_.tracking, host.jiffies_per_second())},
          live_{live},
          host_{host},
          when_live_{std::move(when_live)}
    {
        sets_.change_like(live_.sets);
    }

    std::unique_ptr<FastPath> open(FastPathHook hook) override
    {
        auto fast_path = open_fast_path<fw_bpf, fw_tc_bpf>(hook, [this](auto& skeleton) {
            skeleton.rodata->fw_config = config();
            skeleton.rodata->fw_log_limit = {FW_LOGS_PER_SECOND, FW_LOGS_BURST, host_.jiffies_per_second()};
            skeleton.rodata->fw_reject_limit = {FW_REJECTS_PER_SECOND, FW_REJECTS_BURST, host_.jiffies_per_second()};
        });
        for_each_table(tables_, [&](const char* name, const auto& rows) { resize(*fast_path, name, rows.size()); });
        size_sets(*fast_path);
        resize(*fast_path, "fw_recent", tables_.config.few ? 0 : std::size_t{FW_RECENT} * libbpf_num_possible_cpus());
        resize(*fast_path, "fw_rules", policy_.rules.size() + 1);
        resize(*fast_path, "fw_limits", policy_.has_limits() ? policy_.rules.size() : 0);
        resize(*fast_path, "fw_due", policy_.has_keyed_limits() ? policy_.max_limits : 0);
        resize(*fast_path, "fw_connections", policy_.asks_state() ? policy_.tracking.max_connections : 0);
        resize(*fast_path, "fw_half_open", policy_.asks_state() ? policy_.tracking.max_half_open : 0);
        return fast_path;
    }

    bool leaves_chain() const override { return policy_.leaves_to_netfilter(); }

    /// Sets may come from files.
    std::optional<std::string> inputs() const override { return sets_.inputs(); }

    void fill(const Maps& maps) override
    {
        for_each_table(tables_, [&](const char* name, const auto& rows) { write_rows(maps.get(name), rows); });
        sets_.fill(maps);
        assign_slots(maps);
        fill_rules(maps.get("fw_rules"));
        if (policy_.has_limits()) fill_limits(maps.get("fw_limits"));
    }

    void commit(std::shared_ptr<const Maps> maps) noexcept override
    try {
        slots_->commit(*plan_, maps->get("fw_rule_names"));
        sets_.commit(*maps);
        for (const auto& name : sets_.gone()) host_.log().info("set {}: is not in the configuration any more: its live changes are forgotten", name);
        Live live{maps, std::move(listed_), std::move(log_names_), {}, {}, Limits{maps->get("fw_due")}, {}, {}};
        if (policy_.asks_state()) live.connections.emplace(*maps, timeouts_);
        live.book = make_rule_book(std::move(policy_), std::move(ports_), sets_.all());
        live.sets = std::move(sets_);
        live_ = std::move(live);
        when_live_();
    } catch (const std::exception& error) {
        host_.log().error("the names of the rules' counters were not kept: {}", error.what());
    }

private:
    /// The compiler knows what the tables need; the rest is what the rules do.
    fw_config config() const
    {
        auto config = tables_.config;
        config.has_limits = policy_.has_limits();
        config.has_logs = policy_.has_logs();
        config.has_rejects = policy_.has_rejects();
        config.loose = policy_.tracking.loose;
        std::copy(timeouts_.begin(), timeouts_.end(), config.timeouts);
        return config;
    }

    /// A table that no rule asks for is never looked at: one element, which no map can do without.
    static void resize(FastPath& fast_path, const char* name, std::size_t rows)
    {
        auto* map = bpf_object__find_map_by_name(fast_path.object(), name);
        const auto size = std::max<std::size_t>(rows, 1);
        if (const int error = bpf_map__set_max_entries(map, static_cast<std::uint32_t>(size)))
            throw_errno(-error, fmt::format("cannot size map {} for {} entries", name, size));
    }

    void size_sets(FastPath& fast_path)
    {
        if (!set_sizes_) {
            read_changes();
            set_sizes_ = sets_.build();
        }
        resize(fast_path, "fw_set_roots", set_sizes_->roots);
        resize(fast_path, "fw_set_pages", set_sizes_->pages);
        resize(fast_path, "fw_set_records", set_sizes_->records);
        resize(fast_path, "fw_set_changes", sets_.all().empty() ? 0 : FW_SET_CHANGES);
    }

    /// At the first generation; later ones know of the changes from the one before.
    void read_changes()
    {
        if (live_.maps) return;
        const auto names = host_.state("fw_set_names"), changes = host_.state("fw_set_changes");
        if (names && changes) sets_.read_changes(*names, *changes);
    }

    void assign_slots(const Maps& maps)
    {
        slots_ = Slots::read(maps.get("fw_rule_names"), FW_DEFAULT_SLOT + 1);
        plan_ = slots_->plan(names_of(policy_.rules));
        for (const auto slot : plan_->fresh) {
            maps.get("fw_counters").update_per_cpu(slot, fw_counters{});
            maps.get("fw_modifier_counters").update_per_cpu(slot, fw_modifier_counters{});
            maps.get("fw_rule_due").update(slot, std::uint64_t{0});
        }
        forget_limits(maps.get("fw_due"), plan_->fresh);
    }

    void fill_limits(const MapRef& map)
    {
        for (std::uint32_t index = 0; index < policy_.rules.size(); ++index) {
            const auto& [name, limit] = std::tie(policy_.rules[index].name, policy_.rules[index].limit);
            if (limit) map.update(index, fw_limit{limit->interval_ns, limit->burst * limit->interval_ns, plan_->slots.at(name), static_cast<__u32>(limit->per)});
        }
    }

    void fill_rules(const MapRef& map)
    {
        std::vector<std::uint32_t> keys;
        std::vector<fw_rule> rules;
        listed_.clear();
        const auto add = [&](Listed listed, fw_action action, evnf_reason reason) {
            keys.push_back(static_cast<std::uint32_t>(keys.size()));
            rules.push_back({listed.slot, static_cast<std::uint8_t>(action), static_cast<std::uint8_t>(reason), listed.logged, {}});
            listed_.push_back(std::move(listed));
        };
        for (const auto& rule : policy_.rules)
            add({rule.name, action_name(rule.action), plan_->slots.at(rule.name), rule.limit.has_value(), rule.log}, rule.action, EVNF_REASON_RULE);
        add({std::string{kDefaultName}, fallback_name(policy_.fallback), FW_DEFAULT_SLOT}, policy_.fallback, EVNF_REASON_DEFAULT);
        map.update_batch(keys, rules);
        // Records of rules that are gone may still be on their way.
        log_names_ = live_.log_names;
        for (const auto& rule : policy_.rules)
            if (rule.log) log_names_[plan_->slots.at(rule.name)] = rule.name;
    }

    Policy policy_;
    PortNames ports_;
    Tables tables_;
    LiveSets sets_;
    std::optional<LiveSets::Sizes> set_sizes_;
    Timeouts timeouts_;
    Live& live_;
    Host& host_;
    std::function<void()> when_live_;
    std::optional<Slots> slots_;
    std::optional<Slots::Plan> plan_;
    std::vector<Listed> listed_;
    std::map<std::uint32_t, std::string> log_names_;
};

} // namespace

std::unique_ptr<Staged> make_staged(Policy policy, PortNames ports, Live& live, Host& host, std::function<void()> when_live)
{
    return std::make_unique<FwStaged>(std::move(policy), std::move(ports), live, host, std::move(when_live));
}

} // namespace evnf::fw
