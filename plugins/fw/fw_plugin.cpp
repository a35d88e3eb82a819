// SPDX-License-Identifier: MIT
/// fw as the daemon sees it: settings become a generation's tables, questions get answers.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>

#include <evnf/plugin.hpp>
#include <evnf/sweep.hpp>

#include "explain.hpp"
#include "log.hpp"
#include "rules.hpp"
#include "set_verbs.hpp"
#include "staged.hpp"
#include "views.hpp"

namespace evnf::fw {

namespace {

/// Raise it when the meaning of a state map changes.
constexpr std::uint32_t kLayout = 3;

/// Of covered rules, in the log.
constexpr std::size_t kMostNamed = 5;

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
        // Later, when the reload is over: it must not wait.
        const auto when_live = [this] { boost::asio::post(host_.executor(), [this] { warn_of_covered(); }); };
        try {
            return make_staged(std::move(policy), port_names(ports), live_, host_, when_live);
        } catch (const std::length_error& error) {
            config.error(error.what());
            return nullptr;
        }
    }

    boost::json::value query(std::string_view verb, const std::vector<std::string>& args) override
    {
        if (verb == "explain") return fw::explain(live_.book, read_packet(fmt::format("{}", fmt::join(args, " ")), live_.book.ports));
        if (verb == "log") return log_.answer(args);
        if (verb == "rules" && args.empty()) return show_rules(live_, now());
        if (verb == "set") return answer_set(live_, args, host_);
        if (verb == "unused" && args.empty()) return show_unused(live_);
        if (verb == "connections") return show_connections(live_, args, now());
        if (verb == "tracking" && args.empty()) return show_tracking(live_);
        throw UnknownVerb{{"connections", "explain", "log", "rules", "set", "tracking", "unused"}};
    }

    std::vector<MetricFamily> metrics() override { return rule_metrics(live_); }

    boost::json::value explain(const evnf_packet&, std::uint64_t note) override
    {
        if (note == 0) return boost::json::object{};
        const bool matched = note < live_.rules.size();
        return {{"rule", matched ? std::string_view{live_.rules[note - 1].name} : kDefaultName}};
    }

private:
    Now now() const { return {host_.jiffies(), host_.jiffies_per_second()}; }

    void take(std::span<const std::byte> record)
    {
        const auto name = [this](auto slot) {
            const auto found = live_.log_names.find(slot);
            return found == live_.log_names.end() ? std::string{} : found->second;
        };
        const auto port = [this](auto index) { return index < live_.book.ports.size() ? live_.book.ports[index] : ""; };
        log_.add(record, host_.jiffies(), host_.jiffies_per_second(), {name, port});
    }

    void warn_of_covered()
    {
        if (!is_quickly_searched(live_.book)) return;
        std::vector<std::string> covered;
        for (const auto& [rule, by] : unreachable(live_))
            if (by) covered.push_back(fmt::format("{} (by {})", live_.book.rules[rule].rule.name, live_.book.rules[*by].rule.name));
        if (covered.empty()) return;
        const auto count = covered.size();
        if (count > kMostNamed) covered.resize(kMostNamed);
        host_.log().warn("{} never {}, since an earlier rule covers {}: {}{}; see: evnfctl {} unused", count == 1 ? "a rule" : fmt::format("{} rules", count),
                         count == 1 ? "decides" : "decide", count == 1 ? "it" : "each", fmt::join(covered, ", "), count > kMostNamed ? ", …" : "", host_.instance());
    }

    Host& host_;
    Live live_;
    Sweep expiry_, limit_expiry_;
    PacketLog log_;
};

} // namespace

} // namespace evnf::fw

EVNF_PLUGIN("fw", evnf::fw::FwPlugin, evnf::fw::kLayout, "rules", evnf::OnError::drop)
