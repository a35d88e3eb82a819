// SPDX-License-Identifier: MIT
/// The configuration of the load balancer.
#pragma once

#include <algorithm>
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

    /// What counts when slots are shared out, of the configuration.
    std::uint32_t effective_weight() const noexcept { return state == BackendState::active ? weight : 0; }
};

/// How a service's backends are probed.
struct Health {
    enum class Type { none, tcp, http };
    struct Statuses {
        unsigned first, last;
        bool operator==(const Statuses&) const = default;
    };

    Type type = Type::none;
    std::chrono::milliseconds interval = std::chrono::seconds{1};
    std::chrono::milliseconds timeout = std::chrono::milliseconds{500};
    unsigned rise = 2; ///< successes in a row that make a backend up
    unsigned fall = 3; ///< failures in a row that make it down
    // Of type http:
    std::string path = "/";
    std::string host; ///< header; empty: the backend's address and port
    std::vector<Statuses> expect{{200, 399}};
    std::string body; ///< what the response's must contain

    bool operator==(const Health&) const = default;
};

/// What becomes of a service's packets.
enum class Mode {
    dnat,    ///< the server's address for the VIP; servers see their clients
    fullnat, ///< and an address and port of the pool for the client's
    local,   ///< left to this machine's own stack, where a proxy has the vip
};

enum class WhenAllDown {
    keep, ///< all are taken for up
    drop, ///< new connections find no backend
};

struct Service {
    std::string name;
    Address vip;
    std::uint16_t port = 0;
    std::uint8_t protocol = 0; ///< IPPROTO_TCP or IPPROTO_UDP
    Mode mode = Mode::dnat;
    bool by_source = false;     ///< affinity
    bool adopt = false;         ///< replies of connections that another balancer had
    std::uint32_t slots = 4096; ///< none where the mode is local, and no backends
    std::vector<Backend> backends;
    Health health;
    WhenAllDown when_all_down = WhenAllDown::keep;
    bool reset_when_down = false; ///< clients of a server that is down are told by a reset
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
    std::string seed;               ///< of hash and placement; empty: a key of this machine's own, and the least moves
    std::vector<Address> nat_pool; ///< that servers of `fullnat` see, IPv4 before IPv6
    Timeouts timeouts;
    std::uint32_t max_connections = 1'000'000;
    std::uint32_t new_flow_limit = 0; ///< entries of the table that a CPU may make in a second; 0: any number

    bool adopts() const noexcept
    {
        return std::any_of(services.begin(), services.end(), [](const Service& service) { return service.adopt; });
    }
};

/// Reports all problems to `config`; the result is of no use then.
Settings read_settings(const Node& config);

} // namespace evnf::lb
