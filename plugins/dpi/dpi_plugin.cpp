// SPDX-License-Identifier: MIT
/// dpi: names the application of every flow. The fast path (dpi.bpf.c) counts and copies, the
/// Inspector has nDPI look at the copies and writes the verdict into the flow's entry.
#include <evnf/plugin.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/object.hpp>

#include "app_metrics.hpp"
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

constexpr std::chrono::milliseconds kLinger{5000};     // after FIN both ways or RST
constexpr std::chrono::milliseconds kBetweenTurns{20}; // while a pass over the flow table goes on
constexpr std::chrono::milliseconds kBetweenPasses{1000};

} // namespace

class DpiPlugin final : public Plugin {
public:
    explicit DpiPlugin(Host& host) : host_{host}, inspector_{host.jiffies_per_second()}, timer_{host.executor()}
    {
        host.consume("dpi_copies", RingThread::worker, [this](auto record) { inspector_.inspect(record); });
    }

    std::unique_ptr<Staged> stage(const Node& config, const Ports& ports) override;
    void start() override { schedule(kBetweenPasses); }
    boost::json::value query(std::string_view verb, const std::vector<std::string>& args) override;
    std::vector<MetricFamily> metrics() override;
    boost::json::value explain(const evnf_packet& packet, std::uint64_t note) override;
    void stop() noexcept override { timer_.cancel(); }

private:
    class StagedDpi;

    void commit(Settings settings, std::shared_ptr<Engine> engine, std::shared_ptr<FlowTable> table);
    void schedule(std::chrono::milliseconds delay);
    void expire();
    IdleTimeouts idle_timeouts() const;
    evnf_event_limit copy_limit(const Settings& settings) const;
    std::uint64_t jiffies(std::chrono::milliseconds time) const
    {
        return static_cast<std::uint64_t>(time.count()) * host_.jiffies_per_second() / 1000;
    }

    Host& host_;
    Inspector inspector_;
    boost::asio::steady_timer timer_;
    Expiry expiry_;
    Settings settings_;
    std::shared_ptr<Engine> engine_;
    std::shared_ptr<FlowTable> table_;
    AppMetrics app_metrics_;
};

class DpiPlugin::StagedDpi final : public Staged {
public:
    StagedDpi(DpiPlugin& plugin, Settings settings) : plugin_{plugin}, settings_{std::move(settings)} {}

    std::unique_ptr<FastPath> open(FastPathHook hook) override
    {
        return open_fast_path<dpi_bpf, dpi_tc_bpf>(hook, [this](auto& skeleton) {
            auto& config = skeleton.rodata->dpi_config;
            config.budget_tcp = settings_.budget_tcp;
            config.budget_udp = settings_.budget_udp;
            config.offload = settings_.offload;
            config.copy_limit = plugin_.copy_limit(settings_);
            bpf_map__set_max_entries(skeleton.maps.dpi_flows, settings_.max_flows);
        });
    }

    bool leaves_chain() const override { return false; }
    std::optional<std::string> inputs() const override { return settings_.protocols; }

    /// Makes all that commit() needs, since that must not fail.
    void fill(const Maps& maps) override
    {
        const bool same_rules = plugin_.engine_ && plugin_.settings_.protocols == settings_.protocols;
        engine_ = same_rules ? plugin_.engine_ : std::make_shared<Engine>(settings_.protocols);
        table_ = std::make_shared<FlowTable>(maps);
    }

    void commit(std::shared_ptr<const Maps>) noexcept override
    {
        plugin_.commit(std::move(settings_), std::move(engine_), std::move(table_));
    }

private:
    DpiPlugin& plugin_;
    Settings settings_;
    std::shared_ptr<Engine> engine_;
    std::shared_ptr<FlowTable> table_;
};

std::unique_ptr<Staged> DpiPlugin::stage(const Node& config, const Ports&)
{
    return std::make_unique<StagedDpi>(*this, read_settings(config));
}

void DpiPlugin::commit(Settings settings, std::shared_ptr<Engine> engine, std::shared_ptr<FlowTable> table)
{
    settings_ = std::move(settings);
    engine_ = std::move(engine);
    table_ = std::move(table);
    expiry_ = {}; // its place in the table means nothing in another one
    inspector_.use(engine_, [this, target = table_](const Verdict& verdict) {
        try {
            return target->classify(verdict);
        } catch (const std::exception& error) {
            host_.log().error("a verdict was lost: {}", error.what());
            return false;
        }
    });
}

void DpiPlugin::schedule(std::chrono::milliseconds delay)
{
    timer_.expires_after(delay);
    timer_.async_wait([this](const boost::system::error_code& cancelled) {
        if (!cancelled) expire();
    });
}

void DpiPlugin::expire()
{
    bool over = true;
    try {
        over = expiry_.turn(*table_, inspector_, idle_timeouts(), host_.jiffies());
    } catch (const std::exception& error) {
        host_.log().error("cannot expire flows: {}", error.what());
    }
    schedule(over ? kBetweenPasses : kBetweenTurns);
}

IdleTimeouts DpiPlugin::idle_timeouts() const
{
    return {jiffies(settings_.idle_tcp), jiffies(settings_.idle_udp), jiffies(std::min(kLinger, settings_.idle_tcp))};
}

/// What comes at once, after a pause, may be as much as a tenth of a second earns.
evnf_event_limit DpiPlugin::copy_limit(const Settings& settings) const
{
    return {settings.copy_limit, std::max(1u, settings.copy_limit / 10), host_.jiffies_per_second()};
}

boost::json::value DpiPlugin::query(std::string_view verb, const std::vector<std::string>&)
{
    if (verb == "flows") return report_flows(*table_, inspector_, settings_.offload);
    if (verb == "apps") return report_apps(*table_, inspector_);
    if (verb == "status") return report_status(*table_, inspector_);
    throw UnknownVerb{{"flows", "apps", "status"}};
}

/// A flow counts for its application from its verdict on: before that it may still be taken for another.
std::vector<MetricFamily> DpiPlugin::metrics()
{
    using enum MetricType;
    auto totals = table_->ended();
    std::uint64_t flows = 0;
    table_->for_each([&](const dpi_key&, const dpi_flow& flow) {
        ++flows;
        if (dpi_verdict_state(flow.verdict) < DPI_CLASSIFIED) return;
        auto& app = totals[table_->label(flow).app];
        app.flows += 1;
        app.packets += flow.packets[0] + flow.packets[1];
        app.bytes += flow.bytes[0] + flow.bytes[1];
    });
    const auto faults = table_->faults();
    auto all = app_metrics_.families(totals);
    all.push_back({"flows", "Flows in the table.", gauge, {{{}, static_cast<double>(flows)}}});
    all.push_back({"untracked_packets_total", "Packets of flows that found no room.", counter, {{{}, static_cast<double>(faults.untracked_packets)}}});
    all.push_back({"lost_copies_total", "Copies for inspection that were not made.", counter, {{{}, static_cast<double>(faults.lost_copies)}}});
    return all;
}

/// The note is the verdict word of the flow as the packet found it.
boost::json::value DpiPlugin::explain(const evnf_packet&, std::uint64_t note)
{
    const auto known = inspector_.find(dpi_verdict_id(note)).value_or(Knowledge{DPI_NEW, {}});
    return boost::json::object{{"app", known.label.app}, {"state", state_name(known.state)}};
}

} // namespace evnf::dpi

EVNF_PLUGIN("dpi", evnf::dpi::DpiPlugin, 1, "flows", evnf::OnError::skip)
