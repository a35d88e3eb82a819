// SPDX-License-Identifier: MIT
/// dpi: names the application of every flow. The fast path (dpi.bpf.c) counts and copies, the
/// Inspector has nDPI look at the copies and writes the verdict into the flow's entry.
#include <evnf/plugin.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <charconv>
#include <evnf/sweep.hpp>

#include "expiry.hpp"
#include "flow_table.hpp"
#include "inspector.hpp"
#include "report.hpp"
#include "settings.hpp"

// Their rodata is of types from dpi_shared.h.
#include "dpi_bpf.skel.h"
#include "dpi_tc_bpf.skel.h"

namespace evnf::dpi {

namespace {

constexpr std::chrono::milliseconds kLinger{5000}; // after FIN both ways or RST
constexpr std::size_t kTop = 20;

/// The number of rows that a verb is asked for, if it is.
std::size_t count_of(const std::vector<std::string>& args, std::size_t otherwise)
{
    if (args.empty()) return otherwise;
    std::size_t count = 0;
    const auto& text = args.front();
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (args.size() > 1 || failed != std::errc{} || end != text.data() + text.size() || count < 1 || count > 10'000)
        throw std::runtime_error{"top takes a number of flows, 1 to 10000"};
    return count;
}

} // namespace

/// What a generation works with.
struct Live {
    Settings settings;
    std::shared_ptr<Engine> engine;
    std::shared_ptr<Policies> policies;
    std::shared_ptr<Apps> apps;
    std::shared_ptr<FlowTable> table;
};

class DpiPlugin final : public Plugin {
public:
    explicit DpiPlugin(Host& host)
        : host_{host}, inspector_{host.jiffies_per_second()}, sweep_{host, "cannot look after flows", [this] { return look_after_flows(); }}
    {
        host.consume("dpi_copies", RingThread::worker, [this](auto record) { inspector_.inspect(record); });
    }

    std::unique_ptr<Staged> stage(const Node& config, const Ports& ports) override;
    void start() override { sweep_.start(); }
    boost::json::value query(std::string_view verb, const std::vector<std::string>& args) override;
    boost::json::value explain(const evnf_packet& packet, std::uint64_t note) override;
    void stop() noexcept override { sweep_.stop(); }

private:
    class StagedDpi;

    void commit(Live live) noexcept;
    bool look_after_flows();
    IdleTimeouts idle_timeouts() const;
    evnf_event_limit copy_limit(const Settings& settings) const;
    std::uint64_t jiffies(std::chrono::milliseconds time) const
    {
        return static_cast<std::uint64_t>(time.count()) * host_.jiffies_per_second() / 1000;
    }

    Host& host_;
    Inspector inspector_;
    Sweep sweep_;
    Expiry expiry_;
    Live live_;
};

class DpiPlugin::StagedDpi final : public Staged {
public:
    StagedDpi(DpiPlugin& plugin, Settings settings) : plugin_{plugin} { live_.settings = std::move(settings); }

    std::unique_ptr<FastPath> open(FastPathHook hook) override
    {
        return open_fast_path<dpi_bpf, dpi_tc_bpf>(hook, [this](auto& skeleton) {
            skeleton.rodata->dpi_config = config();
            bpf_map__set_max_entries(skeleton.maps.dpi_table, sets());
        });
    }

    bool leaves_chain() const override { return false; }
    std::optional<std::string> inputs() const override { return live_.settings.protocols; }

    /// Makes all that commit() needs, since that must not fail.
    void fill(const Maps& maps) override
    {
        const auto& settings = live_.settings;
        const bool same_rules = plugin_.live_.engine && plugin_.live_.settings.protocols == settings.protocols;
        live_.engine = same_rules ? plugin_.live_.engine : std::make_shared<Engine>(settings.protocols);
        live_.policies = std::make_shared<Policies>(maps, settings.policies);
        live_.apps = std::make_shared<Apps>(maps, [policies = live_.policies](auto... app) { policies->tell(app...); });
        live_.table = std::make_shared<FlowTable>(maps, live_.apps, settings.offload, plugin_.host_.jiffies_per_second());
        const auto never = maps.get("dpi_never");
        for (const auto& prefix : settings.never_inspect) never.update(key_of(prefix), std::uint8_t{1});
        take_over();
    }

    void commit(std::shared_ptr<const Maps>) noexcept override { plugin_.commit(std::move(live_)); }

private:
    std::uint32_t sets() const { return sets_for(live_.settings.max_flows); }

    dpi_config config() const
    {
        const auto& settings = live_.settings;
        dpi_config config{};
        config.sets = sets();
        config.budget_tcp = settings.budget_tcp;
        config.budget_udp = settings.budget_udp;
        config.copies_end = settings.offload.mode != Offload::Mode::none;
        config.policies = static_cast<__u32>(settings.policies.size());
        for (const auto& policy : settings.policies) config.risks |= policy.risks;
        config.never = !settings.never_inspect.empty();
        config.copy_limit = plugin_.copy_limit(settings);
        return config;
    }

    static dpi_prefix key_of(const Prefix& prefix)
    {
        dpi_prefix key{};
        key.length = prefix.length;
        std::ranges::copy(prefix.address.raw.words, key.words);
        return key;
    }

    /// The flows of a table that had another size.
    void take_over() const
    {
        const auto former = plugin_.host_.state("dpi_table");
        if (!former) return;
        const auto info = former->info();
        if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != sizeof(dpi_set) || info.max_entries == sets()) return;
        if (const auto lost = live_.table->carry_over({*former, info.max_entries}))
            plugin_.host_.log().warn("{} flows found no room in the smaller table: their packets count as their application's", lost);
    }

    DpiPlugin& plugin_;
    Live live_;
};

std::unique_ptr<Staged> DpiPlugin::stage(const Node& config, const Ports&)
{
    return std::make_unique<StagedDpi>(*this, read_settings(config));
}

void DpiPlugin::commit(Live live) noexcept
try {
    if (live_.policies) live.policies->continue_from(*live_.policies);
    live_ = std::move(live);
    live_.apps->tell_all(); // the former generation may have met new ones since fill()
    expiry_ = {};           // its place in the table means nothing in another one
    inspector_.use(live_.engine, [this, target = live_.table](const Verdict& verdict) {
        try {
            return target->conclude(verdict);
        } catch (const std::exception& error) {
            host_.log().error("a verdict was lost: {}", error.what());
            return false;
        }
    });
} catch (const std::exception& error) {
    host_.log().error("flows are not looked after: {}", error.what());
}

bool DpiPlugin::look_after_flows()
{
    return expiry_.part(*live_.table, inspector_, idle_timeouts(), host_.jiffies(), [](const auto&...) {});
}

IdleTimeouts DpiPlugin::idle_timeouts() const
{
    return {jiffies(live_.settings.idle_tcp), jiffies(live_.settings.idle_udp), jiffies(std::min(kLinger, live_.settings.idle_tcp))};
}

/// What comes at once, after a pause, may be as much as a tenth of a second earns.
evnf_event_limit DpiPlugin::copy_limit(const Settings& settings) const
{
    return {settings.copy_limit, std::max(1u, settings.copy_limit / 10), host_.jiffies_per_second()};
}

boost::json::value DpiPlugin::query(std::string_view verb, const std::vector<std::string>& args)
{
    if (verb == "flows") return report_flows(*live_.table, inspector_);
    if (verb == "apps") return report_apps(*live_.table, inspector_);
    if (verb == "categories") return report_categories(*live_.table, inspector_);
    if (verb == "top") return report_top(*live_.table, inspector_, count_of(args, kTop));
    if (verb == "policies") return report_policies(*live_.policies);
    if (verb == "status") return report_status(*live_.table, inspector_, live_.settings.max_flows);
    throw UnknownVerb{{"apps", "categories", "flows", "policies", "status", "top"}};
}

/// The note is the verdict word of the flow as the packet found it.
boost::json::value DpiPlugin::explain(const evnf_packet&, std::uint64_t note)
{
    const auto known = inspector_.find(dpi_verdict_id(note)).value_or(Knowledge{DPI_NEW, {}});
    return boost::json::object{{"app", known.label.app}, {"state", state_name(known.state)}};
}

} // namespace evnf::dpi

EVNF_PLUGIN("dpi", evnf::dpi::DpiPlugin, 2, "flows", evnf::OnError::skip)
