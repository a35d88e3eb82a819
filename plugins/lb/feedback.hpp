// SPDX-License-Identifier: MIT
/// Dynamic feedback: asks the servers for their loads, has a controller decide, and hands the weights to steering. All on the
/// control thread.
#pragma once

#include <boost/json/array.hpp>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <evnf/plugin.hpp>

#include "settings.hpp"
#include "snmp.hpp"
#include "steering.hpp"

namespace evnf::lb {

/// As it is shown: to three places.
boost::json::value number_or_null(std::optional<double> value);

class Feedback {
public:
    explicit Feedback(Host& host);
    ~Feedback();

    /// A configuration is live, and `steering` its own; both are used until the next call, or stop(). What is known of a server
    /// that stays is kept while it is asked the same and the algorithm stays.
    void adopt(std::shared_ptr<const Settings> settings, Steering& steering);
    void stop() noexcept;

    /// A row for each server of the service, or of all services where the name is empty. Throws std::runtime_error where
    /// the service has no feedback.
    boost::json::array show(std::string_view service) const;
    /// As the controller sees it; nothing where it is not known.
    std::optional<double> load(const Service& service, const Backend& backend) const;

private:
    class Loop;
    using Credentials = std::vector<std::pair<SnmpIdentity, std::shared_ptr<const SnmpCredentials>>>;

    /// Those in use, those `known` from before, or new ones.
    std::shared_ptr<const SnmpCredentials> credentials_for(const SnmpIdentity& identity, const Credentials& known);

    Host& host_;
    Credentials credentials_;
    std::vector<std::shared_ptr<Loop>> loops_; // of the services that have feedback, in the settings' order
};

} // namespace evnf::lb
