// SPDX-License-Identifier: MIT
/// Takes a loaded generation to the interfaces of this machine, follows what becomes of them, and keeps former generations
/// for the packets that are still in the kernel's hands.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "attachment.hpp"
#include "dataplane.hpp"
#include "promiscuous.hpp"
#include "redirect_errors.hpp"
#include "report.hpp"
#include "routing.hpp"
#include "vip_device.hpp"

namespace evnf {

class Deployment {
public:
    Deployment(boost::asio::io_context& io, const PinDirectory& pins, const Routing& routing, Dataplane& dataplane, spdlog::logger& log);

    /// Says to the candidate what its ports are attached to now. Throws when an interface is missing that was never served.
    void look_up(Blueprint& blueprint) const;
    /// Throws when a candidate failed with this error because an interface went away after look_up().
    void explain(const Blueprint& blueprint, const std::string& error) const;
    /// Points everything at the candidate's generation. Throws, and then all is as it was.
    void swap(const Dataplane::Candidate& candidate);
    /// Puts one plugin's new part in place in the running generation. Throws, and then all is as it was.
    void replace(Dataplane::Candidate& candidate);
    /// A generation that was not swapped in, or not whole, goes.
    void give_up(const Generation& generation) const;
    /// After the commit: what only the former generation needed goes, now or when its last packets are through.
    void settle(std::unique_ptr<Generation> former);
    /// Takes everything off the interfaces, and all pins.
    void detach();

    void on_routing_change();
    void on_link(const std::string& name, const struct Link* link);
    void on_filter_loss(unsigned ifindex);

    PortStatus status(const std::string& port) const;
    std::optional<std::uint64_t> redirect_errors() const { return redirect_errors_.total(); }

private:
    struct Former {
        std::unique_ptr<Generation> generation;
        std::chrono::steady_clock::time_point until;
    };

    AttachmentPlan plan(const PortSettings& port, unsigned ifindex, const Generation& generation) const;
    evnf_routing routing_for(const Generation& generation) const;
    std::set<Address> virtual_addresses(const Blueprint& blueprint) const;
    std::vector<Device> devices(const Generation& generation) const;
    void route_vips(const Dataplane::Candidate& candidate, const std::set<Address>& vips);
    evnf_link frames_of(unsigned ifindex) const;
    void cover(const struct Link& link);
    unsigned smallest_mtu() const;
    void serve(const PortSettings& port, const struct Link& link);
    void leave(const PortSettings& port, unsigned ifindex);
    void lose(const PortSettings& port);
    void listen_at_taps(const std::vector<PortSettings>& ports);
    void wait_for_former();
    void release_former();
    void pin_chains(const Generation& generation) const;
    void unpin_chains(const Generation& generation) const;
    void sweep();

    const PinDirectory& pins_;
    const Routing& routing_;
    Dataplane& dataplane_;
    spdlog::logger& log_;
    RedirectErrors redirect_errors_;
    Attachments attachments_;
    Promiscuous promiscuous_;
    VipDevice vip_device_;
    evnf_routing routing_state_{};
    std::set<Address> vips_;
    std::map<std::string, unsigned> served_; ///< interface index by port
    std::deque<Former> former_;
    boost::asio::steady_timer former_timer_;
};

} // namespace evnf
