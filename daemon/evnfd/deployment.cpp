// SPDX-License-Identifier: MIT
#include "deployment.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>

namespace evnf {

using namespace std::chrono_literals;

namespace {

/// How long a packet may be in the kernel's hands and still come back: an unanswered neighbour request takes 3 s.
constexpr auto kWayThroughKernel = 5s;

int reverse_path_filter(const std::string& interface)
{
    int mode = 0;
    std::ifstream{fmt::format("/proc/sys/net/ipv4/conf/{}/rp_filter", interface)} >> mode;
    return mode;
}

/// Replies under a VIP come from the servers' side, and the VIP's route leads elsewhere.
void warn_of_reverse_path_filter(const std::vector<PortSettings>& ports, spdlog::logger& log)
{
    for (const auto& port : ports)
        if (std::max(reverse_path_filter("all"), reverse_path_filter(port.name)) == 1)
            log.warn("port {0}: strict reverse-path filtering drops replies under a VIP that are left to netfilter: "
                     "sysctl -w net.ipv4.conf.{0}.rp_filter=2",
                     port.name);
}

void must_be_ethernet(const Link& link)
{
    if (link.frames == EVNF_LINK_ETHERNET) return;
    throw std::runtime_error{fmt::format("port {0}: not an Ethernet interface (see 'ip -d link show {0}'): eVNF serves Ethernet only; name "
                                         "under 'ports' the Ethernet interfaces around it",
                                         link.name)};
}

} // namespace

Deployment::Deployment(boost::asio::io_context& io, const PinDirectory& pins, const Routing& routing, Dataplane& dataplane,
                       spdlog::logger& log)
    : pins_{pins},
      routing_{routing},
      dataplane_{dataplane},
      log_{log},
      redirect_errors_{log},
      attachments_{pins, log},
      vip_device_{log},
      former_timer_{io}
{
}

void Deployment::look_up(Blueprint& blueprint) const
{
    std::vector<std::string> missing;
    for (const auto& port : blueprint.settings.ports) {
        if (const auto link = routing_.find(port.name)) {
            must_be_ethernet(*link);
            blueprint.links[port.name] = {link->ifindex, link->mac};
        } else if (dataplane_.ports().find(port.name) < 0) {
            missing.push_back(port.name);
        } else {
            log_.warn("port {}: its interface is not there; it is served when it comes", port.name);
        }
        if (attachments_.needs_bridge(port)) blueprint.bridged.insert(port.name);
    }
    if (!missing.empty())
        throw std::runtime_error{fmt::format("no such interface: {}: see 'ip link', and name under 'ports' what is there", fmt::join(missing, ", "))};
}

void Deployment::explain(const Blueprint& blueprint, const std::string& error) const
{
    for (const auto& [port, link] : blueprint.links)
        if (!interface_exists(link.ifindex))
            throw std::runtime_error{fmt::format("port {}: its interface went away meanwhile ({}): reload again; the port is served when "
                                                 "the interface comes back",
                                                 port, error)};
}

AttachmentPlan Deployment::plan(const PortSettings& port, unsigned ifindex, const Generation& generation) const
{
    return {{port.name, ifindex}, port.hook, generation.entries().at(port.name)};
}

evnf_routing Deployment::routing_for(const Generation& generation) const
{
    evnf_routing routing = routing_state_;
    routing.cacheable = routing_.cacheable();
    if (!generation.can_resume()) routing.vip_device = 0;
    return routing;
}

std::set<Address> Deployment::virtual_addresses(const Blueprint& blueprint) const
{
    std::set<Address> addresses;
    for (const auto& [name, plugin] : blueprint.plugins)
        for (const auto& address : plugin.staged->virtual_addresses()) addresses.insert(address);
    return addresses;
}

unsigned Deployment::smallest_mtu() const
{
    unsigned mtu = 65535;
    for (const auto& [port, ifindex] : served_)
        if (const auto link = routing_.links().find(ifindex); link != routing_.links().end()) mtu = std::min(mtu, link->second.mtu);
    return mtu;
}

/// Those that packets may leave by and still be in the middle of their chain.
std::vector<Device> Deployment::devices(const Generation& generation) const
{
    std::vector<Device> devices;
    if (!generation.can_resume()) return devices;
    for (const auto& [ifindex, link] : routing_.links())
        if (!link.loopback && link.name != VipDevice::kName) devices.push_back({link.name, ifindex});
    if (routing_state_.vip_device) devices.push_back({VipDevice::kName, routing_state_.vip_device});
    return devices;
}

evnf_link Deployment::frames_of(unsigned ifindex) const
{
    const auto link = routing_.links().find(ifindex);
    return link == routing_.links().end() ? EVNF_LINK_ETHERNET : link->second.frames; // not there yet: evnf0, just made
}

/// Without a chain that packets come back to, nobody leaves them to the kernel under a VIP.
void Deployment::route_vips(const Dataplane::Candidate& candidate, const std::set<Address>& vips)
{
    if (vips.empty()) return;
    routing_state_.vip_device = vip_device_.ensure(smallest_mtu()).ifindex;
    vip_device_.route(vips);
    warn_of_reverse_path_filter(candidate.blueprint.settings.ports, log_);
}

void Deployment::swap(const Dataplane::Candidate& candidate)
{
    const auto& generation = *candidate.generation;
    std::vector<AttachmentPlan> plans;
    std::vector<unsigned> ifindexes;
    std::map<std::string, unsigned> served;
    for (const auto& port : candidate.blueprint.settings.ports) {
        const auto link = candidate.blueprint.links.find(port.name);
        if (link == candidate.blueprint.links.end()) continue;
        plans.push_back(plan(port, link->second.ifindex, generation));
        ifindexes.push_back(link->second.ifindex);
        served[port.name] = link->second.ifindex;
    }
    const auto served_before = std::exchange(served_, served);
    const auto vips = generation.can_resume() ? virtual_addresses(candidate.blueprint) : std::set<Address>{};
    const TcPrograms programs{generation.handover(), generation.resume()};
    Undo undo{log_};
    try {
        attachments_.prepare(plans, programs);
        listen_at_taps(candidate.blueprint.settings.ports);
        redirect_errors_.set_ports(ifindexes);
        route_vips(candidate, vips);
        generation.open_reentry();
        generation.set_routing(routing_for(generation));
        for (const auto& device : devices(generation)) generation.set_link(device.ifindex, frames_of(device.ifindex));
        attachments_.cover(devices(generation), generation.resume(), undo);
        pin_chains(generation);
        attachments_.swap(plans, programs);
        undo.keep();
    } catch (...) {
        served_ = served_before;
        vip_device_.keep_only(vips_);
        if (dataplane_.running()) listen_at_taps(dataplane_.settings().ports);
        throw;
    }
    vips_ = vips;
}

/// The pins take the new number first, so that it is the one that is counted on from, after a kill too.
void Deployment::replace(Dataplane::Candidate& candidate)
{
    const auto before = dataplane_.generation().number(), after = candidate.blueprint.number;
    Undo undo{log_};
    for (const bool second : {true, false}) {
        if (second && dataplane_.generation().chains().size() < 2) continue;
        pins_.rename(chain_pin(before, second), chain_pin(after, second));
        undo.add([this, before, after, second] { pins_.rename(chain_pin(after, second), chain_pin(before, second)); });
    }
    dataplane_.replace(candidate);
    undo.keep();
}

void Deployment::give_up(const Generation& generation) const
{
    unpin_chains(generation);
    generation.close_reentry();
}

void Deployment::settle(std::unique_ptr<Generation> former)
{
    std::vector<std::string> ports;
    for (const auto& port : dataplane_.settings().ports) ports.push_back(port.name);
    attachments_.keep_only(ports);
    if (former && former->can_resume())
        former_.push_back({std::move(former), std::chrono::steady_clock::now() + kWayThroughKernel});
    if (!dataplane_.generation().others_can_resume()) sweep();
    wait_for_former();
}

void Deployment::wait_for_former()
{
    const auto until = former_.empty() ? std::chrono::steady_clock::now() + kWayThroughKernel : former_.front().until;
    former_timer_.expires_at(until);
    former_timer_.async_wait([this](boost::system::error_code error) {
        if (!error) release_former();
    });
}

void Deployment::release_former()
{
    const auto now = std::chrono::steady_clock::now();
    while (!former_.empty() && former_.front().until <= now) {
        former_.front().generation->close_reentry();
        unpin_chains(*former_.front().generation);
        former_.pop_front();
    }
    if (!former_.empty()) return wait_for_former();
    sweep();
    // By now every packet in the kernel's hands has met the filters.
    routing_state_.strict = 1;
    dataplane_.generation().set_routing(routing_for(dataplane_.generation()));
}

/// Nothing but the running generation is in use: what else there is, was left by it or by an earlier daemon.
void Deployment::sweep()
try {
    const auto& generation = dataplane_.generation();
    std::set<std::string> kept;
    for (std::size_t i = 0; i < generation.chains().size(); ++i) kept.insert(chain_pin(generation.number(), i > 0).filename());
    pins_.keep_only("chains", kept);
    generation.close_other_reentries();
    vip_device_.keep_only(vips_);
    if (!generation.can_resume()) attachments_.uncover();
} catch (const std::exception& error) {
    log_.error("cannot clean up after former generations: {}", error.what());
}

/// The first one's pin says that the swap has begun, and that a start may finish it: all is ready (recovery.hpp).
void Deployment::pin_chains(const Generation& generation) const
{
    const auto chains = generation.chains();
    for (std::size_t i = chains.size(); i-- > 0;) pins_.pin(chains[i].fd(), chain_pin(generation.number(), i > 0));
}

void Deployment::unpin_chains(const Generation& generation) const
{
    for (const bool second : {false, true}) pins_.unpin(chain_pin(generation.number(), second));
}

void Deployment::detach()
{
    attachments_.detach_all();
    promiscuous_.set({});
    vip_device_.remove();
    pins_.remove_all();
    log_.info("detached from all ports");
}

void Deployment::on_routing_change()
{
    ++routing_state_.generation;
    if (dataplane_.running()) dataplane_.generation().set_routing(routing_for(dataplane_.generation()));
}

void Deployment::on_link(const std::string& name, const Link* link)
{
    if (!dataplane_.running()) return;
    if (link) cover(*link);
    if (!link && dataplane_.generation().can_resume())
        dataplane_.generation().keep_links([this](unsigned ifindex) { return routing_.links().contains(ifindex); });
    for (const auto& port : dataplane_.settings().ports) {
        if (port.name != name) continue;
        if (link)
            serve(port, *link);
        else
            lose(port);
        if (routing_state_.vip_device) vip_device_.ensure(smallest_mtu());
    }
}

/// Packets may leave by any interface, and one that is in the middle of its chain must not slip out.
void Deployment::cover(const Link& link)
{
    const auto& generation = dataplane_.generation();
    if (!generation.can_resume() || link.loopback) return;
    try {
        generation.set_link(link.ifindex, link.frames);
        attachments_.cover({link.name, link.ifindex}, generation.resume());
    } catch (const std::exception& error) {
        log_.error("packets that leave by {} do not go on with their chain: {}", link.name, error.what());
    }
}

/// Somebody removed a filter, or the qdisc with all filters. What we removed is not missed.
void Deployment::on_filter_loss(unsigned ifindex)
try {
    if (dataplane_.running()) attachments_.restore(ifindex);
} catch (const std::exception& error) {
    if (interface_exists(ifindex)) log_.error("a tc filter that somebody removed is not put back, and packets bypass their chain: {}", error.what());
}

/// The interface of a port is there: new, or changed.
void Deployment::serve(const PortSettings& port, const Link& link)
try {
    const auto& generation = dataplane_.generation();
    const auto before = served_.find(port.name);
    log_.info("port {}: {}", port.name, link.up ? "up" : "down");
    must_be_ethernet(link);
    generation.set_port(dataplane_.ports().at(port.name), {link.ifindex, link.mac});
    if (before != served_.end() && before->second == link.ifindex && attachments_.hook(port.name)) return;
    if (before != served_.end() && before->second != link.ifindex) leave(port, before->second);
    served_[port.name] = link.ifindex;
    std::vector<unsigned> ifindexes;
    for (const auto& [name, ifindex] : served_) ifindexes.push_back(ifindex);
    redirect_errors_.set_ports(ifindexes);
    const std::vector<AttachmentPlan> plans{plan(port, link.ifindex, generation)};
    const TcPrograms programs{generation.handover(), generation.resume()};
    attachments_.prepare(plans, programs);
    listen_at_taps(dataplane_.settings().ports);
    attachments_.swap(plans, programs);
    log_.info("port {}: its interface has come (index {}) and is served", port.name, link.ifindex);
} catch (const std::exception& error) {
    if (!interface_exists(link.ifindex)) return; // netlink is about to say so
    log_.error("port {}: its interface is there and cannot be served: {}", port.name, error.what());
}

/// Another interface has the port's name now.
void Deployment::leave(const PortSettings& port, unsigned ifindex)
{
    if (interface_exists(ifindex))
        attachments_.detach(port.name);
    else
        attachments_.forget(ifindex);
}

void Deployment::lose(const PortSettings& port)
{
    const auto served = served_.find(port.name);
    if (served == served_.end()) return;
    if (const auto renamed = routing_.links().find(served->second); renamed != routing_.links().end()) {
        log_.warn("port {}: its interface is called {} now, and is still served; name it so under 'ports'", port.name, renamed->second.name);
        return;
    }
    log_.warn("port {}: its interface is gone; it is served again when it comes back", port.name);
    attachments_.forget(served->second);
    dataplane_.generation().set_port(dataplane_.ports().at(port.name), {});
    served_.erase(served);
    listen_at_taps(dataplane_.settings().ports);
}

/// What is mirrored to a tap is addressed to others.
void Deployment::listen_at_taps(const std::vector<PortSettings>& ports)
{
    std::set<unsigned> taps;
    for (const auto& port : ports)
        if (const auto served = served_.find(port.name); port.tap && served != served_.end()) taps.insert(served->second);
    promiscuous_.set(taps);
}

PortStatus Deployment::status(const std::string& port) const
{
    const auto hook = attachments_.hook(port);
    const auto served = served_.find(port);
    const auto link = served == served_.end() ? routing_.links().end() : routing_.links().find(served->second);
    return {hook ? hook_name(*hook) : "none", link != routing_.links().end() && link->second.up};
}

} // namespace evnf
