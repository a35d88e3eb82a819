// SPDX-License-Identifier: MIT
/// fw as the daemon sees it: settings become tables, counters become answers.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>

#include <evnf/plugin.hpp>
#include <evnf/slots.hpp>

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>

#include "compiler.hpp"
#include "explain.hpp"
#include "fw_bpf.skel.h"
#include "fw_tc_bpf.skel.h"
#include "rules.hpp"
#include "unused.hpp"

namespace evnf::fw {

namespace {

static_assert(sizeof(fw_rule_name) == sizeof(SlotName));

/// Raise it when the meaning of fw_counters or fw_rule_names changes.
constexpr std::uint32_t kLayout = 3;

/// Of covered rules, in the log.
constexpr std::size_t kMostNamed = 5;

/// A rule, or the default, as `fw rules` lists it.
struct Listed {
    std::string name;
    std::string_view action;
    std::uint32_t slot = FW_DEFAULT_SLOT;
};

/// What is live: what the counters mean.
struct Live {
    std::shared_ptr<const Maps> maps;
    std::vector<Listed> rules; ///< in order, the default last
    RuleBook book;
    std::optional<std::vector<Unreachable>> unreachable; ///< once somebody asked
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
    FwStaged(Policy policy, PortNames ports, Live& live, spdlog::logger& log, std::function<void()> when_live)
        : policy_{std::move(policy)},
          ports_{std::move(ports)},
          tables_{compile(policy_.rules)},
          live_{live},
          log_{log},
          when_live_{std::move(when_live)}
    {
    }

    std::unique_ptr<FastPath> open(FastPathHook hook) override
    {
        auto fast_path = open_fast_path<fw_bpf, fw_tc_bpf>(
            hook, [this](auto& skeleton) { skeleton.rodata->fw_config = tables_.config; });
        for_each_table(tables_, [&](const char* name, const auto& rows) { resize(*fast_path, name, rows.size()); });
        resize(*fast_path, "fw_rules", policy_.rules.size() + 1);
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
    }

    void commit(std::shared_ptr<const Maps> maps) noexcept override
    try {
        slots_->commit(*plan_, maps->get("fw_rule_names"));
        live_ = {std::move(maps), std::move(listed_), make_rule_book(std::move(policy_), std::move(ports_)), {}};
        when_live_();
    } catch (const std::exception& error) {
        log_.error("the names of the rules' counters were not kept: {}", error.what());
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
        for (const auto slot : plan_->fresh) maps.get("fw_counters").update_per_cpu(slot, fw_counters{});
    }

    void fill_rules(const MapRef& map)
    {
        std::vector<std::uint32_t> keys;
        std::vector<fw_rule> rules;
        listed_.clear();
        const auto add = [&](std::string name, std::string_view text, std::uint32_t slot, fw_action action, evnf_reason reason) {
            keys.push_back(static_cast<std::uint32_t>(keys.size()));
            rules.push_back({slot, static_cast<std::uint8_t>(action), static_cast<std::uint8_t>(reason), {}});
            listed_.push_back({std::move(name), text, slot});
        };
        for (const auto& rule : policy_.rules)
            add(rule.name, action_name(rule.action), plan_->slots.at(rule.name), rule.action, EVNF_REASON_RULE);
        add(std::string{kDefaultName}, fallback_name(policy_.fallback), FW_DEFAULT_SLOT, policy_.fallback, EVNF_REASON_DEFAULT);
        map.update_batch(keys, rules);
    }

    Policy policy_;
    PortNames ports_;
    Tables tables_;
    Live& live_;
    spdlog::logger& log_;
    std::function<void()> when_live_;
    std::optional<Slots> slots_;
    std::optional<Slots::Plan> plan_;
    std::vector<Listed> listed_;
};

class FwPlugin final : public Plugin {
public:
    explicit FwPlugin(Host& host) : host_{host} {}

    std::unique_ptr<Staged> stage(const Node& config, const Ports& ports) override
    {
        auto policy = read_policy(config, ports);
        if (!config.problems().empty()) return nullptr;
        try {
            // Later, when the reload is over: it must not wait.
            const auto when_live = [this] { boost::asio::post(host_.executor(), [this] { warn_of_covered(); }); };
            return std::make_unique<FwStaged>(std::move(policy), port_names(ports), live_, host_.log(), when_live);
        } catch (const std::length_error& error) {
            config.error(error.what());
            return nullptr;
        }
    }

    boost::json::value query(std::string_view verb, const std::vector<std::string>& args) override
    {
        if (verb == "explain") return fw::explain(live_.book, read_packet(fmt::format("{}", fmt::join(args, " ")), live_.book.ports));
        if (verb == "unused" && args.empty()) return unused();
        if (verb != "rules" || !args.empty()) throw UnknownVerb{{"rules", "explain", "unused"}};
        boost::json::array rules;
        for (const auto& rule : live_.rules) rules.push_back(counted(rule));
        return rules;
    }

    boost::json::value explain(const evnf_packet&, std::uint64_t note) override
    {
        if (note == 0) return boost::json::object{};
        const bool matched = note < live_.rules.size();
        return {{"rule", matched ? std::string_view{live_.rules[note - 1].name} : kDefaultName}};
    }

private:
    const std::vector<Unreachable>& unreachable()
    {
        if (!live_.unreachable) live_.unreachable = unreachable_rules(live_.book);
        return *live_.unreachable;
    }

    void warn_of_covered()
    {
        if (!is_quickly_searched(live_.book)) return;
        std::vector<std::string> covered;
        for (const auto& [rule, by] : unreachable())
            if (by) covered.push_back(fmt::format("{} (by {})", live_.book.rules[rule].rule.name, live_.book.rules[*by].rule.name));
        if (covered.empty()) return;
        const auto count = covered.size();
        if (count > kMostNamed) covered.resize(kMostNamed);
        host_.log().warn("{} never {}, since an earlier rule covers {}: {}{}; see: evnfctl {} unused", count == 1 ? "a rule" : fmt::format("{} rules", count),
                         count == 1 ? "decides" : "decide", count == 1 ? "it" : "each", fmt::join(covered, ", "), count > kMostNamed ? ", …" : "", host_.instance());
    }

    boost::json::array unused()
    {
        boost::json::array rules;
        auto next = unreachable().begin();
        for (std::size_t i = 0; i < live_.book.rules.size(); ++i) {
            const auto& name = live_.book.rules[i].rule.name;
            if (next != live_.unreachable->end() && next->rule == i) {
                const auto by = (next++)->by;
                rules.push_back(by ? boost::json::object{{"rule", name}, {"why", "covered"}, {"by", live_.book.rules[*by].rule.name}}
                                   : boost::json::object{{"rule", name}, {"why", "matches no packet"}});
            } else if (sum_of(live_.rules[i]).packets == 0) {
                rules.push_back(boost::json::object{{"rule", name}, {"why", "never hit"}});
            }
        }
        return rules;
    }

    fw_counters sum_of(const Listed& rule) const
    {
        fw_counters sum{};
        for (const auto& cpu : live_.maps->get("fw_counters").find_per_cpu<fw_counters>(rule.slot)) {
            sum.packets += cpu.packets;
            sum.bytes += cpu.bytes;
            sum.last = std::max(sum.last, cpu.last);
        }
        return sum;
    }

    boost::json::value counted(const Listed& rule) const
    {
        const auto sum = sum_of(rule);
        boost::json::object row{{"name", rule.name}, {"action", rule.action}, {"packets", sum.packets}, {"bytes", sum.bytes}};
        row["last_hit_s"] = nullptr;
        if (const auto now = host_.jiffies(); sum.last) row["last_hit_s"] = now > sum.last ? (now - sum.last) / host_.jiffies_per_second() : 0;
        return row;
    }

    Host& host_;
    Live live_;
};

} // namespace

} // namespace evnf::fw

EVNF_PLUGIN("fw", evnf::fw::FwPlugin, evnf::fw::kLayout, "rules", evnf::OnError::drop)
