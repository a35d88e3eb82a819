// SPDX-License-Identifier: MIT
/// The configuration of the load balancer.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <evnf/config.hpp>

#include "feedback_settings.hpp"

namespace evnf::lb {

enum class BackendState {
    active,
    drain, ///< keeps its connections, gets no new ones
    down,   ///< gets nothing: its connections select anew
};

struct Backend {
    std::string name;
    Address address;
    std::uint16_t port = 0;
    std::uint32_t weight = 100;
    BackendState state = BackendState::active;
    LoadSource load_source; ///< where the service has feedback

    /// What counts when slots are shared out.
    std::uint32_t effective_weight() const noexcept { return state == BackendState::active ? weight : 0; }
};

struct Service {
    std::string name;
    Address vip;
    std::uint16_t port = 0;
    std::uint8_t protocol = 0; ///< IPPROTO_TCP or IPPROTO_UDP
    bool by_source = false;     ///< affinity
    std::uint32_t slots = 4096;
    std::vector<Backend> backends;
    std::optional<FeedbackSettings> feedback;

    /// The backend's name among those of all services.
    std::string full_name(const Backend& backend) const { return name + "/" + backend.name; }
};

/// How long a connection may be idle, by state.
struct Timeouts {
    std::chrono::milliseconds syn = std::chrono::seconds{30};
    std::chrono::milliseconds established = std::chrono::hours{2};
    std::chrono::milliseconds fin = std::chrono::seconds{30};
    std::chrono::milliseconds udp = std::chrono::seconds{60};
};

struct Settings {
    std::vector<Service> services;
    Timeouts timeouts;
    std::uint32_t max_connections = 1'000'000;
};

/// Reports all problems to `config`; the result is of no use then.
Settings read_settings(const Node& config);

} // namespace evnf::lb
