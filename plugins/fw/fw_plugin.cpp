// SPDX-License-Identifier: MIT
/// fw as the daemon sees it: settings become tables, counters become answers.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <boost/json.hpp>

#include <evnf/plugin.hpp>
#include <evnf/slots.hpp>
#include <evnf/sweep.hpp>

#include <sys/mman.h>

#include <cstring>
#include <map>
#include <optional>

#include "compiler.hpp"
#include "connections.hpp"
#include "fw_bpf.skel.h"
#include "fw_tc_bpf.skel.h"
#include "limits.hpp"
#include "log.hpp"
#include "rules.hpp"

namespace evnf::fw {

namespace {

static_assert(sizeof(fw_rule_name) == sizeof(SlotName));

/// Raise it when the meaning of fw_counters or fw_rule_names changes.
constexpr std::uint32_t kLayout = 2;
/// Connections, in one answer.
constexpr std::size_t kMostListed = 10'000;

/// A rule, or the default, as `fw rules` lists it.
struct Listed {
    std::string name;
    std::string_view action;
    std::uint32_t slot = FW_DEFAULT_SLOT;
    bool limited = false, logged = false;
};

/// What is live: what the counters mean.
struct Live {
    std::shared_ptr<const Maps> maps;
    std::vector<Listed> rules; ///< in order, the default last
    std::optional<Connections> connections; ///< where they are tracked
    std::optional<Limits> limits;
    std::map<std::uint32_t, std::string> log_names; ///< of rules with `log`, by slot
    std::vector<std::string> ports;                 ///< by index
};

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
    static_assert(sizeof(Row) % 8 == 0, "elements of a mapped array are padded to 8 bytes");
    if (rows.empty()) return;
    const auto size = rows.size() * sizeof(Row);
    void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, array.fd(), 0);
    if (memory == MAP_FAILED) throw_errno(errno, fmt::format("cannot map {} into memory", array.name()));
    std::memcpy(memory, rows.data(), size);
    munmap(memory, size);
}

/// Calls `visit(name, rows)` for each table that is a map of that name.
template <class Visit>
void for_each_table(const Tables& tables, Visit visit)
{
    visit("fw_blocks4", tables.blocks4);
    visit("fw_blocks6", tables.blocks6);
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
    FwStaged(Policy policy, const Ports& ports, Live& live, Host& host)
        : policy_{std::move(policy)}, tables_{compile(policy_.rules)}, live_{live}, host_{host}, timeouts_{timeouts_of(policy_.tracking, host.jiffies_per_second())}
    {
        for (int index = 0; index < EVNF_MAX_PORTS; ++index) ports_.emplace_back(ports.name(index));
        tables_.config.loose = policy_.tracking.loose;
        std::copy(timeouts_.begin(), timeouts_.end(), tables_.config.timeouts);
    }

    std::unique_ptr<FastPath> open(FastPathHook hook) override
    {
        auto fast_path = open_fast_path<fw_bpf, fw_tc_bpf>(
            hook, [this](auto& skeleton) {
                skeleton.rodata->fw_config = tables_.config;
                skeleton.rodata->fw_config.has_limits = policy_.has_limits();
                skeleton.rodata->fw_config.has_logs = policy_.has_logs();
                skeleton.rodata->fw_config.has_rejects = policy_.has_rejects();
                skeleton.rodata->fw_log_limit = {FW_LOGS_PER_SECOND, FW_LOGS_BURST, host_.jiffies_per_second()};
                skeleton.rodata->fw_reject_limit = {FW_REJECTS_PER_SECOND, FW_REJECTS_BURST, host_.jiffies_per_second()};
            });
        for_each_table(tables_, [&](const char* name, const auto& rows) { resize(*fast_path, name, rows.size()); });
        resize(*fast_path, "fw_rules", policy_.rules.size() + 1);
        if (policy_.asks_state()) {
            resize(*fast_path, "fw_connections", policy_.tracking.max_connections);
            resize(*fast_path, "fw_half_open", policy_.tracking.max_half_open);
        }
        resize(*fast_path, "fw_limits", policy_.has_limits() ? policy_.rules.size() : 0);
        resize(*fast_path, "fw_due", policy_.has_keyed_limits() ? policy_.max_limits : 0);
        return fast_path;
    }

    bool leaves_chain() const override { return policy_.leaves_to_netfilter(); }

    /// Sets may come from files.
    std::optional<std::string> inputs() const override
    {
        std::string bytes;
        for (const auto& [name, prefixes] : policy_.sets) {
            bytes += fmt::format("{} {} ", name, prefixes.size());
            for (const auto& prefix : prefixes) {
                bytes.append(reinterpret_cast<const char*>(&prefix.address.raw), sizeof prefix.address.raw);
                bytes += static_cast<char>(prefix.length);
            }
        }
        return bytes;
    }

    void fill(const Maps& maps) override
    {
        for_each_table(tables_, [&](const char* name, const auto& rows) { write_rows(maps.get(name), rows); });
        assign_slots(maps);
        fill_rules(maps.get("fw_rules"));
        if (policy_.has_limits()) fill_limits(maps.get("fw_limits"));
    }

    void commit(std::shared_ptr<const Maps> maps) noexcept override
    try {
        slots_->commit(*plan_, maps->get("fw_rule_names"));
        live_ = {maps, std::move(listed_), std::nullopt, Limits{maps->get("fw_due")}, std::move(log_names_), std::move(ports_)};
        if (policy_.asks_state()) live_.connections.emplace(*maps, timeouts_);
    } catch (const std::exception& error) {
        host_.log().error("the names of the rules' counters were not kept: {}", error.what());
    }

private:
    /// A table that no rule asks for is never looked at: one element, which no map can do without.
    static void resize(FastPath& fast_path, const char* name, std::size_t rows)
    {
        auto* map = bpf_object__find_map_by_name(fast_path.object(), name);
        const auto size = std::max<std::size_t>(rows, 1);
        if (const int error = bpf_map__set_max_entries(map, static_cast<std::uint32_t>(size)))
            throw_errno(-error, fmt::format("cannot size map {} for {} entries", name, size));
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
    Tables tables_;
    Live& live_;
    Host& host_;
    Timeouts timeouts_;
    std::optional<Slots> slots_;
    std::optional<Slots::Plan> plan_;
    std::vector<Listed> listed_;
    std::map<std::uint32_t, std::string> log_names_;
    std::vector<std::string> ports_;
};

class FwPlugin final : public Plugin {
public:
    explicit FwPlugin(Host& host)
        : host_{host},
          expiry_{host, "cannot expire connections", [this] { return !live_.connections || live_.connections->expire_some(host_.jiffies()); }},
          limit_expiry_{host, "cannot expire limits", [this] { return !live_.limits || live_.limits->expire_some(); }}
    {
        host.consume("fw_log", RingThread::loop, [this](auto record) { take(record); });
    }

    void start() override { expiry_.start(), limit_expiry_.start(); }
    void stop() noexcept override { expiry_.stop(), limit_expiry_.stop(); }

    std::unique_ptr<Staged> stage(const Node& config, const Ports& ports) override
    {
        auto policy = read_policy(config, ports);
        if (!config.problems().empty()) return nullptr;
        try {
            return std::make_unique<FwStaged>(std::move(policy), ports, live_, host_);
        } catch (const std::length_error& error) {
            config.error(error.what());
            return nullptr;
        }
    }

    boost::json::value query(std::string_view verb, const std::vector<std::string>& args) override
    {
        if (verb == "rules" && args.empty()) return show_rules();
        if (verb == "log") return log_.answer(args);
        if (verb == "connections" && args.empty()) return show_connections();
        if (verb == "tracking" && args.empty()) return show_tracking();
        throw UnknownVerb{{"connections", "log", "rules", "tracking"}};
    }

    boost::json::value explain(const evnf_packet&, std::uint64_t note) override
    {
        if (note == 0) return boost::json::object{};
        const bool matched = note < live_.rules.size();
        return {{"rule", matched ? std::string_view{live_.rules[note - 1].name} : kDefaultName}};
    }

private:
    void take(std::span<const std::byte> bytes)
    {
        log_.add(bytes, host_.jiffies(), host_.jiffies_per_second(),
                 {[this](auto slot) { return name_in(live_.log_names, slot); }, [this](auto port) { return port < live_.ports.size() ? live_.ports[port] : ""; }});
    }

    static std::string name_in(const std::map<std::uint32_t, std::string>& names, std::uint32_t slot)
    {
        const auto found = names.find(slot);
        return found == names.end() ? std::string{} : found->second;
    }

    boost::json::array show_rules() const
    {
        boost::json::array rules;
        for (const auto& rule : live_.rules) rules.push_back(counted(rule));
        return rules;
    }

    boost::json::array show_connections() const
    {
        if (!live_.connections) return {};
        return live_.connections->list(host_.jiffies(), host_.jiffies_per_second(), kMostListed);
    }

    boost::json::object show_tracking() const
    {
        if (!live_.connections) return {};
        fw_connection_counters sum{};
        for (const auto& cpu : live_.maps->get("fw_connection_counters").find_per_cpu<fw_connection_counters>(__u32{0})) {
            sum.opened += cpu.opened;
            sum.moved += cpu.moved;
            sum.refused += cpu.refused;
        }
        return {{"max_connections", live_.maps->get("fw_connections").info().max_entries},
                {"max_half_open", live_.maps->get("fw_half_open").info().max_entries},
                {"opened", sum.opened},
                {"moved", sum.moved},
                {"refused", sum.refused}};
    }

    boost::json::value counted(const Listed& rule) const
    {
        fw_counters sum{};
        for (const auto& cpu : live_.maps->get("fw_counters").find_per_cpu<fw_counters>(rule.slot)) {
            sum.packets += cpu.packets;
            sum.bytes += cpu.bytes;
        }
        boost::json::object row{{"name", rule.name}, {"action", rule.action}, {"packets", sum.packets}, {"bytes", sum.bytes}};
        add_modifiers(rule, row);
        return row;
    }

    void add_modifiers(const Listed& rule, boost::json::object& row) const
    {
        fw_modifier_counters sum{};
        for (const auto& cpu : live_.maps->get("fw_modifier_counters").find_per_cpu<fw_modifier_counters>(rule.slot)) {
            sum.over_limit += cpu.over_limit;
            sum.limit_table_full += cpu.limit_table_full;
            sum.log_suppressed += cpu.log_suppressed;
        }
        if (rule.limited) row["over_limit"] = sum.over_limit, row["limit_table_full"] = sum.limit_table_full;
        if (rule.logged) row["log_suppressed"] = sum.log_suppressed;
    }

    Host& host_;
    Live live_;
    Sweep expiry_, limit_expiry_;
    PacketLog log_;
};

} // namespace

} // namespace evnf::fw

EVNF_PLUGIN("fw", evnf::fw::FwPlugin, evnf::fw::kLayout, "rules", evnf::OnError::drop)
