// SPDX-License-Identifier: MIT
/// dpi: names the application of every flow. The fast path (dpi.bpf.c) counts and copies, the
/// Inspector has nDPI look at the copies and writes the verdict into the flow's entry.
#include <evnf/plugin.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <charconv>
#include <map>
#include <utility>
#include <evnf/sweep.hpp>

#include "app_metrics.hpp"
#include "dissection_watch.hpp"
#include "expiry.hpp"
#include "flow_log.hpp"
#include "flow_table.hpp"
#include "inspector.hpp"
#include "inspector_report.hpp"
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

std::string ring_name(unsigned worker)
{
    return fmt::format("dpi_copies_{}", worker);
}

/// The least that a ring can be: that of a worker that there is not.
void shrink(bpf_object* object, const std::string& ring)
{
    bpf_map__set_max_entries(bpf_object__find_map_by_name(object, ring.c_str()), static_cast<__u32>(getpagesize()));
}

} // namespace

/// What a generation works with.
struct Live {
    Settings settings;
    std::shared_ptr<const Engines> engines;
    std::shared_ptr<Policies> policies;
    std::shared_ptr<Apps> apps;
    std::shared_ptr<FlowTable> table;
};

class DpiPlugin final : public Plugin {
public:
    explicit DpiPlugin(Host& host)
        : host_{host},
          inspector_{host.jiffies_per_second()},
          watch_{host, inspector_},
          sweep_{host, "cannot look after flows", [this] { return look_after_flows(); }},
          flow_log_{host.log()}
    {
        for (unsigned worker = 0; worker < DPI_MAX_WORKERS; ++worker)
            host.consume(ring_name(worker), RingThread::worker,
                         [this, worker](auto record) { inspector_.inspect(worker, record); });
    }

    std::unique_ptr<Staged> stage(const Node& config, const Ports& ports) override;
    void start() override
    {
        sweep_.start();
        watch_.start();
    }
    boost::json::value query(std::string_view verb, const std::vector<std::string>& args) override;
    std::vector<MetricFamily> metrics() override;
    boost::json::value explain(const evnf_packet& packet, std::uint64_t note) override;
    void stop() noexcept override
    {
        sweep_.stop();
        watch_.stop();
    }

private:
    class StagedDpi;

    void commit(Live live) noexcept;
    void recover(std::shared_ptr<Breadcrumbs> crumbs);
    boost::json::value status() const;
    bool look_after_flows();
    void record(const dpi_flow& flow, std::uint64_t last_seen, const Knowledge& known, FlowEnd end);
    void record_the_rest();
    std::chrono::system_clock::time_point time_of(std::uint64_t jiffies) const;
    IdleTimeouts idle_timeouts() const;
    evnf_event_limit copy_limit(const Settings& settings) const;
    std::uint64_t jiffies(std::chrono::milliseconds time) const
    {
        return static_cast<std::uint64_t>(time.count()) * host_.jiffies_per_second() / 1000;
    }

    Host& host_;
    Inspector inspector_;
    DissectionWatch watch_;
    Sweep sweep_;
    Expiry expiry_;
    Live live_;
    FlowLog flow_log_;
    dpi_faults told_{}; ///< what the flow log was told of packets without records
    AppMetrics app_metrics_;
};

class DpiPlugin::StagedDpi final : public Staged {
public:
    StagedDpi(DpiPlugin& plugin, Settings settings) : plugin_{plugin}, workers_{settings.workers}
    {
        live_.settings = std::move(settings);
    }

    std::unique_ptr<FastPath> open(FastPathHook hook) override
    {
        return open_fast_path<dpi_bpf, dpi_tc_bpf>(hook, [this](auto& skeleton) {
            skeleton.rodata->dpi_config = config();
            bpf_map__set_max_entries(skeleton.maps.dpi_table, sets());
            for (unsigned worker = workers_; worker < DPI_MAX_WORKERS; ++worker) shrink(skeleton.obj, ring_name(worker));
        });
    }

    bool leaves_chain() const override { return false; }
    bool uses_ring(const std::string& name) const noexcept override { return static_cast<unsigned>(name.back() - '0') < workers_; }
    std::optional<std::string> inputs() const override { return live_.settings.protocols; }

    /// Makes all that commit() needs, since that must not fail.
    void fill(const Maps& maps) override
    {
        const auto& settings = live_.settings;
        const auto& former = plugin_.live_;
        const bool same_engines = former.engines && former.engines->workers() == workers_ && former.settings.protocols == settings.protocols;
        live_.engines = same_engines ? former.engines : std::make_shared<const Engines>(settings.protocols, workers_);
        if (former.engines && former.engines->workers() != workers_) plugin_.inspector_.expect_moves();
        if (!former.engines) crumbs_ = std::make_shared<Breadcrumbs>(maps);
        live_.policies = std::make_shared<Policies>(maps, settings.policies);
        live_.apps = std::make_shared<Apps>(maps, [policies = live_.policies](auto... app) { policies->tell(app...); });
        live_.table = std::make_shared<FlowTable>(maps, live_.apps, settings.offload, plugin_.host_.jiffies_per_second());
        const auto never = maps.get("dpi_never");
        for (const auto& prefix : settings.never_inspect) never.update(key_of(prefix), std::uint8_t{1});
        take_over();
    }

    void commit(std::shared_ptr<const Maps>) noexcept override
    {
        plugin_.commit(std::move(live_));
        if (crumbs_) plugin_.recover(std::move(crumbs_));
    }

private:
    std::uint32_t sets() const { return sets_for(live_.settings.max_flows); }

    dpi_config config() const
    {
        const auto& settings = live_.settings;
        dpi_config config{};
        config.sets = sets();
        config.workers = workers_;
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
    const unsigned workers_;
    Live live_;
    std::shared_ptr<Breadcrumbs> crumbs_; ///< for the first commit
};

std::unique_ptr<Staged> DpiPlugin::stage(const Node& config, const Ports&)
{
    return std::make_unique<StagedDpi>(*this, read_settings(config));
}

void DpiPlugin::commit(Live live) noexcept
try {
    if (live_.policies)
        live.policies->continue_from(*live_.policies);
    else
        told_ = live.table->faults(); // what was before the daemon's start is not told again
    live_ = std::move(live);
    flow_log_.use(live_.settings.flow_log);
    live_.apps->tell_all(); // the former generation may have met new ones since fill()
    expiry_ = {};           // its place in the table means nothing in another one
    inspector_.use(live_.engines, [this, target = live_.table](const Verdict& verdict) {
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

/// What killed an earlier process is told once, and left alone from now on.
void DpiPlugin::recover(std::shared_ptr<Breadcrumbs> crumbs)
{
    for (const auto& crumb : inspector_.recover(std::move(crumbs)))
        host_.log().error("evnfd died while nDPI was at a packet of flow {} (id {}): that flow is not inspected any more",
                          endpoints(crumb.key), static_cast<std::uint64_t>(crumb.id));
}

bool DpiPlugin::look_after_flows()
{
    const bool whole = expiry_.part(*live_.table, inspector_, idle_timeouts(), host_.jiffies(), [this](auto&&... ended) { record(ended...); });
    if (whole) record_the_rest();
    return whole;
}

std::chrono::system_clock::time_point DpiPlugin::time_of(std::uint64_t jiffies) const
{
    const auto ago = host_.jiffies() - jiffies;
    return std::chrono::system_clock::now() - std::chrono::milliseconds{ago * 1000 / host_.jiffies_per_second()};
}

void DpiPlugin::record(const dpi_flow& flow, std::uint64_t last_seen, const Knowledge& known, FlowEnd end)
{
    if (!flow_log_.in_use()) return;
    const unsigned from = flow.initiator & 1, to = from ^ 1;
    FlowRecord record{.key = flow.key, .initiator = from, .label = known.label, .state = known.state, .ended = end};
    const auto lived = static_cast<std::uint32_t>(last_seen) - flow.first_seen;
    // What was last seen is known less exactly than what was first seen.
    record.start = time_of(last_seen - (static_cast<std::int32_t>(lived) > 0 ? lived : 0));
    record.end = time_of(last_seen);
    record.out = {flow.packets[from], flow.bytes[from]};
    record.back = {flow.packets[to], flow.bytes[to]};
    if (known.state >= DPI_CLASSIFIED) record.policy = live_.policies->text_for(known.label.app, known.label.category, flow.risks);
    record.gap = flow.flags & DPI_FLOW_GAP;
    flow_log_.write(record);
}

/// Packets that no flow's record tells of, since this was last called.
void DpiPlugin::record_the_rest()
{
    const auto now = live_.table->faults();
    const auto told = std::exchange(told_, now);
    if (now.evicted_flows != told.evicted_flows)
        flow_log_.write_aggregate("evicted", "", now.evicted_flows - told.evicted_flows, now.evicted_packets - told.evicted_packets,
                                  now.evicted_bytes - told.evicted_bytes);
    if (now.untracked_packets != told.untracked_packets)
        flow_log_.write_aggregate("untracked", "", 0, now.untracked_packets - told.untracked_packets, now.untracked_bytes - told.untracked_bytes);
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
    if (verb == "status") return status();
    throw UnknownVerb{{"apps", "categories", "flows", "policies", "status", "top"}};
}

boost::json::value DpiPlugin::status() const
{
    auto status = report_status(*live_.table, inspector_, live_.settings.max_flows);
    report_inspection(inspector_, status);
    status["flow_log"] = flow_log_.report();
    return status;
}

/// A flow counts for its application from its verdict on: before that it may still be taken for another.
std::vector<MetricFamily> DpiPlugin::metrics()
{
    using enum MetricType;
    std::map<std::string, AppTotals> totals;
    for (const auto& [app, ended] : live_.apps->ended()) totals[app.first] += ended;
    std::uint64_t flows = 0;
    live_.table->for_each([&](const dpi_flow& flow, dpi_head) {
        ++flows;
        if (!dpi_verdict_app(flow.verdict)) return;
        totals[live_.table->label(flow).app] += {1, flow.packets[0] + flow.packets[1], flow.bytes[0] + flow.bytes[1]};
    });
    const auto faults = live_.table->faults();
    auto all = app_metrics_.families(totals);
    const auto add = [&](const char* name, const char* help, MetricType type, std::uint64_t value) {
        all.push_back({name, help, type, {{{}, static_cast<double>(value)}}});
    };
    add("flows", "Flows in the table.", gauge, flows);
    add("evicted_flows_total", "Flows that gave their place to a newer one.", counter, faults.evicted_flows);
    add("untracked_packets_total", "Packets of flows that found no room.", counter, faults.untracked_packets);
    add("lost_copies_total", "Copies for inspection that were not made.", counter, faults.lost_copies);
    add("stale_verdicts_total", "Verdicts on flows that were no more.", counter, live_.table->tally().stale_verdicts);
    return all;
}

/// The note is the verdict word of the flow as the packet found it.
boost::json::value DpiPlugin::explain(const evnf_packet&, std::uint64_t note)
{
    const auto known = inspector_.find(dpi_verdict_id(note)).value_or(Knowledge{DPI_NEW, {}});
    return boost::json::object{{"app", known.label.app}, {"state", state_name(known.state)}};
}

} // namespace evnf::dpi

EVNF_PLUGIN("dpi", evnf::dpi::DpiPlugin, 2, "flows", evnf::OnError::skip)
