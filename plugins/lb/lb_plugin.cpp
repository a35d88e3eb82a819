// SPDX-License-Identifier: MIT
/// lb: the plugin that the daemon sees. README.md says what it does.
#include <algorithm>
#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <evnf/plugin.hpp>
#include <evnf/sweep.hpp>

#include "feedback.hpp"
#include "views.hpp"

// Their rodata is of types from lb_shared.h.
#include "lb_bpf.skel.h"
#include "lb_tc_bpf.skel.h"

namespace evnf::lb {

namespace {

namespace json = boost::json;

/// What new_flow_limit lets through at once, after a pause: that of a tenth of a second.
constexpr unsigned kBurstsASecond = 10;

/// A connection may stay longer than its timeout by this part of the shortest one: a walk through a large table takes its time.
constexpr unsigned kLateness = 4;
constexpr std::chrono::milliseconds kLeastRest{1000}, kLongestRest{15000};

class Balancer final : public Plugin {
public:
    explicit Balancer(Host& host)
        : host_{host},
          expiry_{host, "cannot expire connections", [this] { return live_->connections.expire_some(host_.jiffies()); }},
          health_{host.executor(), std::bind_front(&Balancer::take_health, this)},
          feedback_{host}
    {
    }

    std::unique_ptr<Staged> stage(const Node& config, const Ports& ports) override;

    void start() override { expiry_.start(); }
    void stop() noexcept override
    {
        expiry_.stop();
        health_.stop();
        feedback_.stop();
    }

    json::value query(std::string_view verb, const std::vector<std::string>& args) override
    {
        if (verb == "backends") return show_backends(*live_, health_, feedback_, host_.jiffies());
        if (verb == "feedback") return feedback_.show(args.empty() ? "" : args.front());
        if (verb == "connections")
            return show_connections(*live_, host_.jiffies(), host_.jiffies_per_second());
        if (verb == "tracking") return show_tracking(*live_, host_.jiffies());
        if (verb == "drain") return steer(verb, args, &Steering::drain);
        if (verb == "activate") return steer(verb, args, &Steering::activate);
        throw UnknownVerb{{"activate", "backends", "connections", "drain", "feedback", "tracking"}};
    }

    std::vector<MetricFamily> metrics() override
    {
        return live_ ? backend_metrics(*live_) : std::vector<MetricFamily>{};
    }

    json::value explain(const evnf_packet&, std::uint64_t note) override;

    /// A new configuration is live.
    void adopt(Live live) noexcept
    try {
        live_.emplace(std::move(live));
        const std::chrono::milliseconds shortest{std::uint64_t{live_->connections.limits().shortest()} * 1000 / host_.jiffies_per_second()};
        expiry_.set_rest(std::clamp(shortest / kLateness, kLeastRest, kLongestRest));
        health_.adopt(*live_->settings, [this](const Service& service, const Backend& backend) {
            return !live_->steering->standing(service, backend).steered.unhealthy;
        });
        feedback_.adopt(live_->settings, *live_->steering);
    } catch (const std::exception& error) {
        health_.stop();
        feedback_.stop(); // it must not go on with what is gone
        host_.log().error("health checks and feedback do not run: {}", error.what());
    }

    Host& host() { return host_; }

private:
    using Command = void (Steering::*)(const std::string& service, const std::string& backend);
    json::value steer(std::string_view verb, const std::vector<std::string>& args, Command command);
    void take_health(const std::string& service, const std::string& backend, bool up, const std::string& why);

    Host& host_;
    Sweep expiry_;
    std::optional<Live> live_;
    HealthChecks health_;
    Feedback feedback_; // last: it uses what is live
};

class StagedBalancer final : public Staged {
public:
    StagedBalancer(Balancer& balancer, Settings settings)
        : balancer_{balancer}, settings_{std::make_shared<const Settings>(std::move(settings))}
    {
    }

    std::unique_ptr<FastPath> open(FastPathHook hook) override
    {
        return open_fast_path<lb_bpf, lb_tc_bpf>(hook, [this](auto& skeleton) {
            skeleton.rodata->lb_config = config();
            skeleton.rodata->lb_adopts = settings_->adopts();
            bpf_map__set_max_entries(skeleton.maps.lb_connections, sets());
            bpf_map__set_max_entries(skeleton.maps.lb_fullnat, needs_fullnat() ? 2 * LB_WAYS * sets() : 1);
            skeleton.rodata->lb_pools = pools();
            bpf_map__set_max_entries(skeleton.maps.lb_slots, std::max(1u, Placement::pages(*settings_)));
        });
    }

    bool leaves_chain() const override { return false; }
    std::optional<std::string> inputs() const override { return std::string{}; }

    std::vector<Address> virtual_addresses() const override
    {
        std::vector<Address> vips;
        for (const auto& service : settings_->services)
            if (service.mode != Mode::local) vips.push_back(service.vip);
        // Replies to the pool come back here and are left to the kernel as packets to VIPs are.
        vips.insert(vips.end(), settings_->nat_pool.begin(), settings_->nat_pool.end());
        return vips;
    }

    void fill(const Maps& maps) override
    {
        steering_ = std::make_unique<Steering>(settings_, maps);
        steering_->fill(maps);
        table_ = {maps.get("lb_connections"), sets()};
        take_over(maps.get("lb_hash_key").find<lb_hash_key>(std::uint32_t{0}).value());
    }

    void commit(std::shared_ptr<const Maps> maps) noexcept override
    {
        try {
            steering_->commit(maps);
        } catch (const std::exception& error) {
            balancer_.host().log().error(
                "cannot save the selection table, the next change may move more of it than it must: {}",
                error.what());
        }
        Connections connections{std::move(table_), maps->get("lb_fullnat"), limits()};
        balancer_.adopt({settings_, std::move(steering_), std::move(maps), std::move(connections)});
    }

private:
    std::uint32_t sets() const { return sets_for(settings_->max_connections); }

    /// The connections of a table that had another size.
    void take_over(const lb_hash_key& key) const
    {
        const auto former = balancer_.host().state("lb_connections");
        if (!former) return;
        const auto info = former->info();
        if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != sizeof(lb_set) || info.max_entries == sets()) return;
        if (const auto lost = carry_over({*former, info.max_entries}, table_, key))
            balancer_.host().log().warn("{} connections found no room in the smaller table: they are served, but not kept", lost);
    }

    Limits limits() const { return {settings_->timeouts, balancer_.host().jiffies_per_second()}; }

    lb_config config() const
    {
        const auto hz = balancer_.host().jiffies_per_second();
        lb_config config{};
        config.sets = sets();
        config.fullnat = needs_fullnat();
        config.opening_jiffies_tcp = limits().of(LB_STATE_SYN);
        config.opening_jiffies_udp = limits().of(LB_STATE_UDP);
        config.new_flows = {settings_->new_flow_limit, std::max(1u, settings_->new_flow_limit / kBurstsASecond), hz};
        return config;
    }

    /// Also while connections of an earlier configuration may be in that table.
    bool needs_fullnat() const
    {
        const auto table = balancer_.host().state("lb_fullnat");
        return (table && table->info().max_entries > 1) ||
               std::ranges::any_of(settings_->services,
                                   [](const Service& service) { return service.mode == Mode::fullnat; });
    }

    lb_pools pools() const
    {
        const auto& pool = settings_->nat_pool;
        const auto all = static_cast<__u32>(pool.size());
        const auto four = static_cast<__u32>(std::ranges::count_if(pool, &Address::is_v4));
        return {{0, four}, {four, all - four}, all};
    }

    Balancer& balancer_;
    std::shared_ptr<const Settings> settings_;
    std::unique_ptr<Steering> steering_;
    ConnectionTable table_;
};

std::unique_ptr<Staged> Balancer::stage(const Node& config, const Ports&)
{
    return std::make_unique<StagedBalancer>(*this, read_settings(config));
}

json::value Balancer::steer(std::string_view verb, const std::vector<std::string>& args, Command command)
{
    if (args.size() != 2)
        throw std::runtime_error{fmt::format("usage: evnfctl {} {} SERVICE BACKEND", host_.instance(), verb)};
    ((*live_->steering).*command)(args[0], args[1]);
    live_->steering->publish();
    host_.log().info("{}/{}: {}, by command", args[0], args[1], verb);
    return show_standing(*live_, args[0], args[1]);
}

void Balancer::take_health(const std::string& service, const std::string& backend, bool up, const std::string& why)
{
    if (up)
        host_.log().info("{}/{} is up: {}", service, backend, why);
    else
        host_.log().warn("{}/{} is down: {}", service, backend, why);
    live_->steering->set_health(service, backend, up);
    live_->steering->publish();
}

/// The remark holds the backend's index + 1, or in its upper half the index + 1 of a service that
/// had no backend for the packet.
json::value Balancer::explain(const evnf_packet&, std::uint64_t note)
{
    const auto backend = static_cast<std::uint32_t>(note), service = static_cast<std::uint32_t>(note >> 32);
    if (backend) {
        const auto name = live_->steering->name_of(backend - 1);
        const auto slash = name.find('/');
        if (slash == std::string_view::npos) return json::object{};
        return json::object{{"service", name.substr(0, slash)}, {"backend", name.substr(slash + 1)}};
    }
    if (service) return json::object{{"service", live_->settings->services.at(service - 1).name}};
    return json::object{};
}

} // namespace

} // namespace evnf::lb

EVNF_PLUGIN("lb", evnf::lb::Balancer, 1, "backends", evnf::OnError::skip)
