// SPDX-License-Identifier: MIT
/// Entry and forwarder, wired without the daemon, as the router of a network namespace of its own:
/// the FIB that answers is the kernel's. Port 0 is eth0 (10.1.0.1/24, 2001:db8:1::1/64), port 1 is
/// eth1 (10.3.1.1/24, 2001:db8:31::1/64). Nothing is sent: a run tells what would be.
#pragma once

#include <evnf/packet_shared.h>
#include <evnf/bpf.hpp>

#include <memory>
#include <string>

#include "packet.hpp"

struct bpf_object;

namespace evnf::test {

enum class Action {
    dropped,
    to_kernel,
    sent,       ///< out of a port, with the MAC addresses that it needs there
    unresolved, ///< the kernel asks for the next hop's MAC address and sends it
};

struct Forwarded {
    Action action;
    Frame frame;
    evnf_packet packet;
};

class Router {
public:
    enum class Mode { route, wire, tap };

    explicit Router(Mode mode = Mode::route);
    ~Router();
    Router(const Router&) = delete;
    Router& operator=(const Router&) = delete;

    /// A frame that arrives at eth0.
    Forwarded run(const Frame& frame);
    /// Runs `ip ARGUMENTS` in the namespace.
    void ip(const std::string& arguments);
    /// What the daemon says when netlink tells of a change.
    void routing_changed(bool cacheable = true);
    void set_port(std::uint32_t port, const evnf_port_config& config);

private:
    struct CloseObject {
        void operator()(bpf_object* object) const;
    };
    using Object = std::unique_ptr<bpf_object, CloseObject>;

    void load(const Object& object, const evnf_stage_config& config);
    MapRef map(const char* name) const;

    Fd outside_;
    Object clock_, entry_, forwarder_;
    std::uint32_t eth0_ = 0, routing_generation_ = 0;
};

} // namespace evnf::test
