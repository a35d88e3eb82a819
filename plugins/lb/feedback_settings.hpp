// SPDX-License-Identifier: MIT
/// The configuration of a service's feedback: whom to ask for a load, and what becomes of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include <evnf/config.hpp>

#include "controllers.hpp"
#include "snmp_types.hpp"

namespace evnf::lb {

/// Where a server's load is read.
struct LoadSource {
    std::optional<Address> address; ///< of the agent, when it is not the backend's
    std::uint16_t port = 161;
    SnmpIdentity identity;
    Oid oid;
    /// What the variable is at full load. Nothing: the number of the server's CPUs, which its agent tells.
    std::optional<double> full;

    bool operator==(const LoadSource&) const = default;
};

/// laLoad and laLoadFloat of UCD-SNMP-MIB.
bool is_load_average(const Oid& oid);

struct FeedbackSettings {
    FeedbackAlgorithm algorithm = FeedbackAlgorithm::balanced;
    std::chrono::milliseconds interval = std::chrono::seconds{5};
    std::chrono::milliseconds timeout = std::chrono::seconds{1}; ///< of one question to an agent
    LoadSource source;                                           ///< of backends that say nothing else
};

/// A service's `feedback`; nothing with `source: none`.
std::optional<FeedbackSettings> read_feedback(const Node& node);
/// A backend's `feedback`: what differs from the service's.
LoadSource read_load_source(const Node& node, const LoadSource& of_service);

} // namespace evnf::lb
