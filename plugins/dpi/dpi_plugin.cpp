// SPDX-License-Identifier: MIT
/// dpi: names the application of every flow. The fast path (dpi.bpf.c) counts and copies, the
/// Inspector has nDPI look at the copies and writes the verdict into the flow's entry.
#include <evnf/plugin.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/object.hpp>

#include "dissection_watch.hpp"
#include "expiry.hpp"
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

constexpr std::chrono::milliseconds kLinger{5000};     // after FIN both ways or RST
constexpr std::chrono::milliseconds kBetweenTurns{20}; // while a pass over the flow table goes on
constexpr std::chrono::milliseconds kBetweenPasses{1000};

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

class DpiPlugin final : public Plugin {
public:
    explicit DpiPlugin(Host& host)
        : host_{host}, inspector_{host.jiffies_per_second()}, watch_{host, inspector_}, timer_{host.executor()}
    {
        for (unsigned worker = 0; worker < DPI_MAX_WORKERS; ++worker)
            host.consume(ring_name(worker), RingThread::worker,
                         [this, worker](auto record) { inspector_.inspect(worker, record); });
    }

    std::unique_ptr<Staged> stage(const Node& config, const Ports& ports) override;
    void start() override
    {
        schedule(kBetweenPasses);
        watch_.start();
    }
    boost::json::value query(std::string_view verb, const std::vector<std::string>& args) override;
    boost::json::value explain(const evnf_packet& packet, std::uint64_t note) override;
    void stop() noexcept override
    {
        timer_.cancel();
        watch_.stop();
    }

private:
    class StagedDpi;

    void commit(Settings settings, std::shared_ptr<const Engines> engines, std::shared_ptr<FlowTable> table);
    void recover(std::shared_ptr<Breadcrumbs> crumbs);
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
    DissectionWatch watch_;
    boost::asio::steady_timer timer_;
    Expiry expiry_;
    Settings settings_;
    std::shared_ptr<const Engines> engines_;
    std::shared_ptr<FlowTable> table_;
};

class DpiPlugin::StagedDpi final : public Staged {
public:
    StagedDpi(DpiPlugin& plugin, Settings settings)
        : plugin_{plugin}, workers_{settings.workers}, settings_{std::move(settings)}
    {
    }

    std::unique_ptr<FastPath> open(FastPathHook hook) override
    {
        return open_fast_path<dpi_bpf, dpi_tc_bpf>(hook, [this](auto& skeleton) {
            auto& config = skeleton.rodata->dpi_config;
            config.budget_tcp = settings_.budget_tcp;
            config.budget_udp = settings_.budget_udp;
            config.offload = settings_.offload;
            config.workers = workers_;
            config.copy_limit = plugin_.copy_limit(settings_);
            bpf_map__set_max_entries(skeleton.maps.dpi_flows, settings_.max_flows);
            for (unsigned worker = workers_; worker < DPI_MAX_WORKERS; ++worker) shrink(skeleton.obj, ring_name(worker));
        });
    }

    bool leaves_chain() const override { return false; }
    bool uses_ring(const std::string& name) const noexcept override
    {
        return static_cast<unsigned>(name.back() - '0') < workers_;
    }
    std::optional<std::string> inputs() const override { return settings_.protocols; }

    /// Makes all that commit() needs, since that must not fail.
    void fill(const Maps& maps) override
    {
        const bool same_engines = plugin_.engines_ && plugin_.engines_->workers() == workers_ &&
                                  plugin_.settings_.protocols == settings_.protocols;
        engines_ = same_engines ? plugin_.engines_ : std::make_shared<const Engines>(settings_.protocols, workers_);
        if (plugin_.engines_ && plugin_.engines_->workers() != workers_) plugin_.inspector_.expect_moves();
        if (!plugin_.engines_) crumbs_ = std::make_shared<Breadcrumbs>(maps);
        table_ = std::make_shared<FlowTable>(maps);
    }

    void commit(std::shared_ptr<const Maps>) noexcept override
    {
        plugin_.commit(std::move(settings_), std::move(engines_), std::move(table_));
        if (crumbs_) plugin_.recover(std::move(crumbs_));
    }

private:
    DpiPlugin& plugin_;
    const unsigned workers_;
    Settings settings_;
    std::shared_ptr<const Engines> engines_;
    std::shared_ptr<Breadcrumbs> crumbs_; ///< for the first commit
    std::shared_ptr<FlowTable> table_;
};

std::unique_ptr<Staged> DpiPlugin::stage(const Node& config, const Ports&)
{
    return std::make_unique<StagedDpi>(*this, read_settings(config));
}

void DpiPlugin::commit(Settings settings, std::shared_ptr<const Engines> engines, std::shared_ptr<FlowTable> table)
{
    settings_ = std::move(settings);
    engines_ = std::move(engines);
    table_ = std::move(table);
    expiry_ = {}; // its place in the table means nothing in another one
    inspector_.use(engines_, [this, target = table_](const Verdict& verdict) {
        try {
            return target->classify(verdict);
        } catch (const std::exception& error) {
            host_.log().error("a verdict was lost: {}", error.what());
            return false;
        }
    });
}

/// What killed an earlier process is told once, and left alone from now on.
void DpiPlugin::recover(std::shared_ptr<Breadcrumbs> crumbs)
{
    for (const auto& crumb : inspector_.recover(std::move(crumbs)))
        host_.log().error("evnfd died while nDPI was at a packet of flow {} (id {}): that flow is not inspected any more",
                          endpoints(crumb.key), static_cast<std::uint64_t>(crumb.id));
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
    if (verb == "status") {
        auto status = report_status(*table_, inspector_);
        report_inspection(inspector_, status);
        return status;
    }
    throw UnknownVerb{{"flows", "apps", "status"}};
}

/// The note is the verdict word of the flow as the packet found it.
boost::json::value DpiPlugin::explain(const evnf_packet&, std::uint64_t note)
{
    const auto known = inspector_.find(dpi_verdict_id(note)).value_or(Knowledge{DPI_NEW, {}});
    return boost::json::object{{"app", known.label.app}, {"state", state_name(known.state)}};
}

} // namespace evnf::dpi

EVNF_PLUGIN("dpi", evnf::dpi::DpiPlugin, 1, "flows", evnf::OnError::skip)
