// SPDX-License-Identifier: MIT
#include "daemon.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <boost/asio/post.hpp>
#include <csignal>
#include <fstream>

#include "metrics.hpp"
#include "recovery.hpp"

namespace evnf {

namespace asio = boost::asio;
namespace json = boost::json;

namespace {

constexpr std::chrono::seconds kNeighbourPeriod{5};
constexpr std::chrono::seconds kHeartbeatPeriod{1};
static_assert(kHeartbeatPeriod.count() < kHeartbeatSeconds);

bool is_off(const char* sysctl)
{
    std::ifstream file{sysctl};
    return file.get() == '0';
}

void warn_unless_forwarding(const Settings& settings, spdlog::logger& log)
{
    if (settings.mode != ForwardingMode::route) return;
    if (is_off("/proc/sys/net/ipv4/ip_forward"))
        log.warn("IPv4 forwarding is off, so nothing is routed: sysctl -w net.ipv4.ip_forward=1");
    if (is_off("/proc/sys/net/ipv6/conf/all/forwarding"))
        log.warn("IPv6 forwarding is off, so nothing is routed: sysctl -w net.ipv6.conf.all.forwarding=1");
}

} // namespace

Daemon::Daemon(asio::io_context& io, std::string config_file, const Settings& settings, std::shared_ptr<spdlog::logger> log)
    : io_{io},
      config_file_{std::move(config_file)},
      log_{std::move(log)},
      pins_{recover_pins(settings.pin_dir, *log_)},
      routing_{io.get_executor(), *log_,
               {[this] { deployment_.on_routing_change(); },
                [this](const std::string& name, const Link* link) { deployment_.on_link(name, link); },
                [this](unsigned ifindex) { deployment_.on_filter_loss(ifindex); }}},
      dataplane_{{io.get_executor(), &clock_, log_, plugin_directory(), false, activity_}, &pins_, false},
      deployment_{io, pins_, routing_, dataplane_, *log_},
      signals_{io, SIGHUP, SIGTERM, SIGINT},
      neighbour_timer_{io},
      heartbeat_timer_{io},
      confirmation_{io, [this](const auto& before) { go_back(before); }}
{
    warn_unless_forwarding(settings, *log_);
    control_ = std::make_unique<ControlServer>(io, settings.control_socket,
                                               [this](const auto& command, const auto& args) { return handle(command, args); });
    apply(configuration());
    wait_for_signal();
    keep_neighbours();
    keep_heartbeats();
}

Daemon::~Daemon() = default;

void Daemon::run()
{
    watchdog_.emplace(io_.get_executor(), activity_, log_);
    io_.run();
    watchdog_.reset();
    if (dataplane_.settings().on_stop == OnStop::detach) deployment_.detach();
    log_->info("stopped");
}

std::string Daemon::configuration() const
{
    Problems problems{config_file_};
    auto text = read_text(problems);
    if (!problems.empty()) throw ConfigError{problems.errors()};
    return text;
}

/// The transaction. Whatever throws leaves the running generation as it was.
void Daemon::apply(const std::string& configuration)
{
    const LoopActivity::Scope scope{*activity_, "a reload"};
    const auto started = std::chrono::steady_clock::now();
    auto candidate = dataplane_.stage_text(configuration, config_file_);
    check_unchanged(candidate.blueprint.settings);
    deployment_.look_up(candidate.blueprint);
    auto metrics_server = metrics_server_for(candidate.blueprint.settings);
    const auto number = candidate.blueprint.number;
    try {
        dataplane_.load(candidate);
        if (candidate.replacement)
            deployment_.replace(candidate);
        else
            deploy(candidate);
    } catch (const std::exception& error) {
        deployment_.explain(candidate.blueprint, error.what());
        throw;
    }
    std::vector<std::string> ports;
    for (const auto& port : dataplane_.settings().ports) ports.push_back(port.name);
    if (metrics_server || !dataplane_.settings().metrics) metrics_server_ = std::move(metrics_server);
    running_ = configuration;
    gone_back_.reset();
    log_->set_level(dataplane_.settings().log_level);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - started;
    log_->info("generation {} carries traffic on {} ({:.0f} ms)", number, fmt::join(ports, ", "), took.count());
}

/// On trial where it must be confirmed. A plain reload would confirm in passing what nobody has confirmed.
void Daemon::reload(std::optional<std::chrono::milliseconds> trial)
{
    if (const auto left = confirmation_.left(); left && !trial)
        throw std::runtime_error{fmt::format("a reload waits for its confirmation for {} s more: 'evnfctl confirm' keeps it; 'evnfctl reload "
                                             "--confirm TIME' tries another configuration in its place",
                                             left->count())};
    const auto before = running_;
    try {
        apply(configuration());
    } catch (...) {
        ++reloads_.refused;
        throw;
    }
    ++reloads_.applied;
    if (trial) confirmation_.expect(before, *trial);
}

void Daemon::go_back(const std::string& configuration) noexcept
try {
    apply(configuration);
    gone_back_ = std::chrono::steady_clock::now();
    log_->warn("nobody confirmed the reload: generation {} is the configuration before it; {} is not what runs", dataplane_.generation().number(), config_file_);
} catch (const std::exception& error) {
    log_->error("nobody confirmed the reload, but the configuration before it cannot come back, generation {} goes on: {}",
                dataplane_.generation().number(), error.what());
}

void Daemon::deploy(Dataplane::Candidate& candidate)
{
    try {
        deployment_.swap(candidate);
    } catch (...) {
        give_up(candidate);
        throw;
    }
    deployment_.settle(dataplane_.commit(std::move(candidate)));
}

/// The chains' pins first: without them what is in next/ means nothing (recovery.hpp).
void Daemon::give_up(const Dataplane::Candidate& candidate) noexcept
{
    try {
        deployment_.give_up(*candidate.generation);
    } catch (const std::exception& error) {
        log_->error("a generation that was given up stays pinned: {}", error.what());
        return;
    }
    dataplane_.abandon(candidate);
}

/// Some settings are what a running daemon stands on.
void Daemon::check_unchanged(const Settings& next) const
{
    if (!dataplane_.running()) return;
    const auto& now = dataplane_.settings();
    if (next.pin_dir != now.pin_dir || next.control_socket != now.control_socket)
        throw std::runtime_error{fmt::format("{}: daemon.pin_dir and daemon.control_socket change only with a restart", config_file_)};
}

void Daemon::keep_neighbours()
{
    routing_.refresh_neighbours(dataplane_.generation().framework_map("evnf_neighbours"), clock_.jiffies(), clock_.jiffies_per_second());
    neighbour_timer_.expires_after(kNeighbourPeriod);
    neighbour_timer_.async_wait([this](boost::system::error_code error) {
        if (!error) keep_neighbours();
    });
}

void Daemon::keep_heartbeats()
{
    dataplane_.beat();
    heartbeat_timer_.expires_after(kHeartbeatPeriod);
    heartbeat_timer_.async_wait([this](boost::system::error_code error) {
        if (!error) keep_heartbeats();
    });
}

void Daemon::wait_for_signal()
{
    signals_.async_wait([this](boost::system::error_code error, int signal) {
        if (error) return;
        if (signal == SIGHUP)
            reload_on_signal();
        else
            stop();
        wait_for_signal();
    });
}

void Daemon::reload_on_signal()
try {
    reload(std::nullopt);
} catch (const std::exception& error) {
    log_->error("reload refused, generation {} goes on: {}", dataplane_.generation().number(), error.what());
}

void Daemon::stop()
{
    io_.stop();
}

/// Where metrics are to be had from then on, if that is not where they are: listening before anything has changed.
std::unique_ptr<MetricsServer> Daemon::metrics_server_for(const Settings& next)
{
    if (!next.metrics || (metrics_server_ && metrics_server_->endpoint() == *next.metrics)) return nullptr;
    return std::make_unique<MetricsServer>(io_, *next.metrics, [this] { return metrics(); });
}

std::string Daemon::metrics() const
{
    auto all = framework_metrics(full_status(), stats(dataplane_, deployment_.redirect_errors()));
    for (auto& more : {process_metrics(), plugin_metrics(dataplane_)}) all.insert(all.end(), more.begin(), more.end());
    return metrics_text(std::move(all));
}

json::object Daemon::loop_status() const
{
    const auto record = watchdog_ ? watchdog_->record() : LoopWatchdog::Record{};
    return {{"stalls", record.stalls}, {"longest_ms", record.longest.count()}, {"late_ms", static_cast<double>(record.late.count()) / 1000}};
}

json::object Daemon::full_status() const
{
    auto answer = status(dataplane_, config_file_, [this](const auto& port) { return deployment_.status(port); });
    answer["loop"] = loop_status();
    answer["reloads"] = json::object{{"applied", reloads_.applied}, {"refused", reloads_.refused}};
    if (const auto left = confirmation_.left()) answer["confirm_within_s"] = left->count();
    if (gone_back_)
        answer["gone_back_s"] = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - *gone_back_).count();
    return answer;
}

/// Arguments: none, or --confirm and a time.
json::object Daemon::answer_reload(const std::vector<std::string>& args)
{
    if (!args.empty() && (args.size() != 2 || args[0] != "--confirm")) throw std::invalid_argument{"reload takes no arguments, or --confirm TIME"};
    reload(args.empty() ? std::nullopt : std::optional{read_trial_time(args[1])});
    json::object answer{{"generation", dataplane_.generation().number()}};
    if (const auto left = confirmation_.left()) answer["confirm_within_s"] = left->count();
    return answer;
}

json::value Daemon::handle(const std::string& command, const std::vector<std::string>& args)
{
    if (command == "status") return full_status();
    if (command == "stats") return stats(dataplane_, deployment_.redirect_errors());
    if (command == "reload") return answer_reload(args);
    if (command == "confirm") {
        confirmation_.confirm();
        log_->info("generation {} is confirmed", dataplane_.generation().number());
        return json::object{{"generation", dataplane_.generation().number()}};
    }
    if (command == "detach") {
        deployment_.detach();
        asio::post(io_, [this] { stop(); });
        return json::object{{"detached", true}};
    }
    const auto space = command.find(' ');
    const auto instance = dataplane_.instances().find(command.substr(0, space));
    if (instance == dataplane_.instances().end()) throw std::runtime_error{fmt::format("no command and no plugin is named '{}'", command.substr(0, space))};
    return instance->second->query(space == std::string::npos ? "" : command.substr(space + 1), args);
}

} // namespace evnf
