// SPDX-License-Identifier: MIT
/// Health checks: each backend is probed at its interval, and so many equal results in a row change what it is taken for.
/// All on the control thread.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "probe.hpp"
#include "settings.hpp"

namespace evnf::lb {

class HealthChecks {
public:
    /// A backend's health has changed: `why` is the last result.
    using Report = std::function<void(const std::string& service, const std::string& backend, bool up, const std::string& why)>;

    HealthChecks(boost::asio::any_io_executor executor, Report report);
    ~HealthChecks() { stop(); }

    /// Probes what these settings want probed. A check that is the same as before goes on; others begin anew, with what
    /// `is_up` says of the backend.
    void adopt(const Settings& settings, const std::function<bool(const Service&, const Backend&)>& is_up);
    void stop() noexcept;

    /// The latest result; empty where there is none yet.
    std::string result(const Service& service, const Backend& backend) const;

private:
    class Check;

    void run(const std::shared_ptr<Check>& check);
    void finished();

    boost::asio::any_io_executor executor_;
    Report report_;
    std::mt19937 random_;
    std::map<std::string, std::shared_ptr<Check>> checks_; // by full name
    unsigned under_way_ = 0;                              // probes
    std::deque<std::weak_ptr<Check>> waiting_;            // for others to end
};

} // namespace evnf::lb
