// SPDX-License-Identifier: MIT
/// evnfd as a service: start, reload and stop, each one transaction.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "clock.hpp"
#include "confirmation.hpp"
#include "control.hpp"
#include "dataplane.hpp"
#include "deployment.hpp"
#include "loop_watchdog.hpp"
#include "metrics_server.hpp"
#include "report.hpp"
#include "routing.hpp"

namespace evnf {

class Daemon {
public:
    /// Adopts what an earlier daemon pinned and puts the configuration in charge. Throws ConfigError, or another
    /// exception when it cannot start; then what carried traffic before still does.
    Daemon(boost::asio::io_context& io, std::string config_file, const Settings& settings,
           std::shared_ptr<spdlog::logger> log);
    ~Daemon();

    /// Returns after SIGTERM, SIGINT or `detach`.
    void run();

private:
    std::string configuration() const;
    void apply(const std::string& configuration);
    void reload(std::optional<std::chrono::milliseconds> trial);
    void go_back(const std::string& configuration) noexcept;
    void deploy(Dataplane::Candidate& candidate);
    void give_up(const Dataplane::Candidate& candidate) noexcept;
    void check_unchanged(const Settings& next) const;
    void wait_for_signal();
    void reload_on_signal();
    void stop();
    void keep_neighbours();
    void keep_heartbeats();
    std::unique_ptr<MetricsServer> metrics_server_for(const Settings& next);
    std::string metrics() const;
    boost::json::object loop_status() const;
    boost::json::object full_status() const;
    boost::json::object answer_reload(const std::vector<std::string>& args);
    boost::json::value handle(const std::string& command, const std::vector<std::string>& args);

    boost::asio::io_context& io_;
    std::string config_file_;
    std::shared_ptr<spdlog::logger> log_;
    std::shared_ptr<LoopActivity> activity_ = std::make_shared<LoopActivity>();
    FastPathClock clock_;
    PinDirectory pins_;
    Routing routing_;
    Dataplane dataplane_;
    Deployment deployment_;
    boost::asio::signal_set signals_;
    boost::asio::steady_timer neighbour_timer_, heartbeat_timer_;
    Confirmation confirmation_;
    std::string running_; ///< the configuration's text
    std::optional<std::chrono::steady_clock::time_point> gone_back_; ///< since when what runs is not what the file says
    std::optional<LoopWatchdog> watchdog_; ///< while the loop runs
    struct Reloads {
        std::uint64_t applied = 0, refused = 0;
    } reloads_;
    std::unique_ptr<MetricsServer> metrics_server_;
    std::unique_ptr<ControlServer> control_; // last: nobody asks while the rest goes
};

} // namespace evnf
