// SPDX-License-Identifier: MIT
#include "attachment.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <net/if.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

namespace evnf {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kDot = "%2e";

/// bpffs takes no dots in names; interfaces such as eth0.7 have them.
std::string without_dots(const std::string& name)
{
    std::string encoded;
    for (const char c : name) c == '.' ? encoded += kDot : encoded += c;
    return encoded;
}

std::string with_dots(std::string_view name)
{
    const auto dot = name.find(kDot);
    if (dot == std::string_view::npos) return std::string{name};
    return fmt::format("{}.{}", name.substr(0, dot), with_dots(name.substr(dot + kDot.size())));
}

fs::path link_pin(const std::string& port)
{
    return fs::path{"links"} / without_dots(port);
}

/// Entry programs are pinned beside their links: what a rollback after a restart goes back to.
fs::path entry_pin(const std::string& port)
{
    return fs::path{"entries"} / without_dots(port);
}

const fs::path kHandoverPin = fs::path{"programs"} / "handover";
const fs::path kResumePin = fs::path{"programs"} / "resume";

/// The ports that have a pin in that directory.
std::vector<std::string> ports_in(const fs::path& directory)
{
    std::vector<std::string> ports;
    if (!fs::exists(directory)) return ports;
    for (const auto& entry : fs::directory_iterator{directory}) ports.push_back(with_dots(entry.path().filename().string()));
    return ports;
}

bpf_xdp_query_opts query(std::uint32_t ifindex)
{
    LIBBPF_OPTS(bpf_xdp_query_opts, options);
    if (const int error = bpf_xdp_query(static_cast<int>(ifindex), 0, &options))
        throw_errno(-error, "cannot ask which XDP program is attached");
    return options;
}

/// "program 42 (xdp_dispatcher)", as far as we may know.
std::string describe_program(std::uint32_t id)
{
    const Fd fd{bpf_prog_get_fd_by_id(id)};
    bpf_prog_info info{};
    __u32 size = sizeof info;
    if (!fd || bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) return fmt::format("program {}", id);
    return fmt::format("program {} ({})", id, info.name);
}

[[noreturn]] void throw_attach_error(const AttachmentPlan& plan, Hook hook, int error)
{
    if (error == EBUSY || error == EEXIST) {
        const auto found = query(plan.device.ifindex);
        throw std::runtime_error{fmt::format(
            "port {0}: another XDP {1} is attached: eVNF does not detach it; do so yourself with: ip link set dev {0} xdp off",
            plan.device.name, describe_program(found.prog_id))};
    }
    throw_errno(error, fmt::format("port {}: cannot attach in {} mode", plan.device.name, hook_name(hook)));
}

bool is_tc_program(const Fd& program)
{
    bpf_prog_info info{};
    __u32 size = sizeof info;
    return program && bpf_obj_get_info_by_fd(program.get(), &info, &size) == 0 && info.type == BPF_PROG_TYPE_SCHED_CLS;
}

Fd create_link(unsigned ifindex, int program, Hook hook, int& error)
{
    LIBBPF_OPTS(bpf_link_create_opts, options, .flags = hook == Hook::generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
    const int fd = bpf_link_create(program, static_cast<int>(ifindex), BPF_XDP, &options);
    error = fd < 0 ? -fd : 0;
    return Fd{fd < 0 ? -1 : fd};
}

} // namespace

Undo::~Undo()
{
    for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
        try {
            (*step)();
        } catch (const std::exception& error) {
            log_.error("cannot go back to what was attached: {}", error.what());
        }
    }
}

const char* hook_name(Hook hook)
{
    switch (hook) {
    case Hook::generic: return "generic";
    case Hook::tc: return "tc";
    default: return "native";
    }
}

Attachments::Attachments(const PinDirectory& pins, spdlog::logger& log) : pins_{pins}, log_{log}
{
    adopt_ports();
    adopt_devices();
}

void Attachments::adopt_ports()
{
    for (const auto& port : ports_in(pins_.path() / "links"))
        if (auto link = adopt(port)) links_.emplace(port, std::move(*link));
    for (const auto& port : ports_in(pins_.path() / "entries")) {
        const unsigned ifindex = if_nametoindex(port.c_str());
        if (links_.contains(port)) continue;
        const Device device{port, ifindex};
        Fd program = pins_.open(entry_pin(port));
        if (ifindex && is_tc_program(program) && has_filter(device, TcPoint::ingress)) {
            tc_ports_[port] = ifindex;
            const int adopted = program.get();
            filters_[{ifindex, TcPoint::ingress}] = {device, adopted, std::move(program)};
        } else {
            pins_.unpin(entry_pin(port));
        }
    }
}

/// The filters that go with the chains of an earlier daemon: whoever has replaced them must know what they were.
void Attachments::adopt_devices()
{
    for (const auto& [point, pin] : {std::pair{TcPoint::ingress, kHandoverPin}, {TcPoint::egress, kResumePin}}) {
        if (!fs::exists(pins_.path() / pin)) continue;
        struct if_nameindex* const all = if_nameindex();
        if (!all) throw_errno(errno, "cannot list the interfaces");
        for (const auto* entry = all; entry->if_index; ++entry) {
            const Device device{entry->if_name, entry->if_index};
            if (filters_.contains({device.ifindex, point}) || !has_filter(device, point)) continue;
            Fd program = pins_.open(pin);
            const int adopted = program.get();
            filters_[{device.ifindex, point}] = {device, adopted, std::move(program)};
        }
        if_freenameindex(all);
    }
}

/// A pinned link whose interface is still there.
std::optional<Attachments::Link> Attachments::adopt(const std::string& port) const
{
    Fd fd = pins_.open(link_pin(port));
    bpf_link_info info{};
    __u32 size = sizeof info;
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0 || info.type != BPF_LINK_TYPE_XDP || info.xdp.ifindex == 0) {
        log_.info("port {}: the pinned link has lost its interface: removed", port);
        pins_.unpin(link_pin(port));
        return std::nullopt;
    }
    const auto attached = query(info.xdp.ifindex);
    const Hook hook = attached.attach_mode == XDP_ATTACHED_SKB ? Hook::generic : Hook::native;
    Fd program = pins_.open(entry_pin(port));
    const int adopted = program.get();
    return Link{std::move(fd), info.xdp.ifindex, hook, adopted, std::move(program)};
}

Attachments::Link Attachments::create(const AttachmentPlan& plan) const
{
    const Hook hook = plan.hook == Hook::generic ? Hook::generic : Hook::native;
    const unsigned ifindex = plan.device.ifindex;
    int error = 0;
    Link link{create_link(ifindex, plan.entries.xdp, hook, error), ifindex, hook, plan.entries.xdp, Fd{}};
    const bool fall_back = error != 0 && error != EBUSY && error != EEXIST && plan.hook == Hook::automatic;
    if (fall_back) {
        log_.warn("port {}: the driver refuses native XDP ({}): attached in generic mode, which is slower", plan.device.name,
                  std::strerror(error));
        link.hook = Hook::generic;
        link.fd = create_link(ifindex, plan.entries.xdp, Hook::generic, error);
    }
    if (error) throw_attach_error(plan, link.hook, error);
    pins_.pin(link.fd.get(), link_pin(plan.device.name));
    return link;
}

void Attachments::cover(const std::vector<Device>& devices, int resume, Undo& undo)
{
    for (const auto& device : devices) {
        try {
            set(device, TcPoint::egress, resume, undo);
        } catch (const std::exception&) {
            if (interface_exists(device.ifindex)) throw; // one that has just gone is nobody's way out
        }
    }
}

void Attachments::swap(const std::vector<AttachmentPlan>& plans, const TcPrograms& programs)
{
    Undo undo{log_};
    for (const auto& plan : plans) attach(plan, programs, undo);
    undo.keep();
    keep_programs();
}

void Attachments::prepare(const std::vector<AttachmentPlan>& plans, const TcPrograms& programs) const
{
    for (const auto& plan : plans)
        pins_.pin(plan.hook == Hook::tc ? plan.entries.tc : plan.entries.xdp, next(entry_pin(plan.device.name)));
    pins_.pin(programs.handover, next(kHandoverPin));
    pins_.pin(programs.resume, next(kResumePin));
}

/// What cannot be renamed is renamed by the next start.
void Attachments::keep_programs() const noexcept
try {
    for (const fs::path directory : {"entries", "programs"})
        for (const auto& name : pins_.list(next(directory))) pins_.rename(next(directory / name), directory / name);
} catch (const std::exception& error) {
    log_.error("the programs of this generation are not all in their place yet: {}", error.what());
}

/// The order lets every packet meet one chain, and only one: tc programs let pass by what an XDP chain has handed over.
/// A port goes from one XDP mode to another by way of tc, since the kernel takes no two modes at a time.
void Attachments::attach(const AttachmentPlan& plan, const TcPrograms& programs, Undo& undo)
{
    const auto& port = plan.device.name;
    if (const auto link = links_.find(port); link != links_.end() && link->second.ifindex != plan.device.ifindex) {
        // The interface went and another came under its name: the old link is dead.
        pins_.unpin(link_pin(port));
        links_.erase(link);
    }
    if (plan.hook == Hook::tc || needs_bridge({port, plan.hook, {}})) {
        set(plan.device, TcPoint::ingress, plan.entries.tc, undo);
        if (links_.contains(port)) remove_link(port, undo);
    }
    const auto tc_ports = tc_ports_;
    undo.add([this, tc_ports] { tc_ports_ = tc_ports; });
    if (plan.hook == Hook::tc) {
        tc_ports_[port] = plan.device.ifindex;
        return;
    }
    // A new link's packets find the handover there, and a chain at tc goes on until the link is.
    if (!filters_.contains({plan.device.ifindex, TcPoint::ingress})) set(plan.device, TcPoint::ingress, programs.handover, undo);
    set_link(plan, undo);
    set(plan.device, TcPoint::ingress, programs.handover, undo);
    tc_ports_.erase(port);
}

void Attachments::set_link(const AttachmentPlan& plan, Undo& undo)
{
    const auto& port = plan.device.name;
    const auto found = links_.find(port);
    if (found == links_.end()) {
        links_.emplace(port, create(plan));
        undo.add([this, port] {
            pins_.unpin(link_pin(port));
            links_.erase(port);
        });
        return;
    }
    Link& link = found->second;
    const int before = link.program;
    const auto point_at = [port](Link& changed, int program) {
        if (const int error = bpf_link_update(changed.fd.get(), program, nullptr))
            throw_errno(-error, fmt::format("port {}: cannot point its link at another program", port));
        changed.program = program;
    };
    point_at(link, plan.entries.xdp);
    undo.add([this, port, before, point_at] { point_at(links_.at(port), before); });
}

void Attachments::remove_link(const std::string& port, Undo& undo)
{
    auto node = std::make_shared<Link>(std::move(links_.at(port)));
    links_.erase(port);
    pins_.unpin(link_pin(port));
    if (const int error = bpf_link_detach(node->fd.get())) throw_errno(-error, fmt::format("port {}: cannot detach XDP", port));
    undo.add([this, port, node] {
        int error = 0;
        node->fd = create_link(node->ifindex, node->program, node->hook, error);
        if (error) throw_errno(error, fmt::format("port {}: cannot attach in {} mode again", port, hook_name(node->hook)));
        pins_.pin(node->fd.get(), link_pin(port));
        links_.emplace(port, std::move(*node));
    });
}

void Attachments::set(const Device& device, TcPoint point, int program, Undo& undo)
{
    const Place place{device.ifindex, point};
    const auto found = filters_.find(place);
    const int before = found == filters_.end() ? -1 : found->second.program;
    set_filter(device, point, program);
    if (found == filters_.end())
        filters_[place] = {device, program, Fd{}};
    else
        found->second.program = program;
    undo.add([this, place, device, point, before] {
        if (before < 0) return remove(place);
        set_filter(device, point, before);
        filters_.at(place).program = before;
    });
}

void Attachments::cover(const Device& device, int resume)
{
    const auto found = filters_.find({device.ifindex, TcPoint::egress});
    if (found != filters_.end() && found->second.program == resume) return;
    Undo undo{log_};
    set(device, TcPoint::egress, resume, undo);
    undo.keep();
}

void Attachments::restore(unsigned ifindex)
{
    for (const auto& [place, filter] : filters_) {
        if (place.first != ifindex || has_filter(filter.device, place.second)) continue;
        set_filter(filter.device, place.second, filter.program);
        log_.warn("{}: somebody removed eVNF's filter at tc {}, and packets bypassed their chain: it is put back", filter.device.name,
                  place.second == TcPoint::ingress ? "ingress" : "egress");
    }
}

void Attachments::remove(const Place& place)
{
    const auto found = filters_.find(place);
    if (found == filters_.end()) return;
    remove_filter(found->second.device, place.second);
    filters_.erase(found);
}

void Attachments::forget(unsigned ifindex)
{
    std::erase_if(filters_, [&](const auto& filter) { return filter.first.first == ifindex; });
    std::erase_if(tc_ports_, [&](const auto& port) { return port.second == ifindex; });
    for (auto link = links_.begin(); link != links_.end();) {
        if (link->second.ifindex != ifindex) {
            ++link;
            continue;
        }
        pins_.unpin(link_pin(link->first));
        link = links_.erase(link);
    }
}

void Attachments::uncover()
{
    std::vector<Place> places;
    for (const auto& [place, filter] : filters_)
        if (place.second == TcPoint::egress) places.push_back(place);
    for (const auto& place : places) remove(place);
}

void Attachments::detach(const std::string& port)
{
    const auto link = links_.find(port);
    const auto tc_port = tc_ports_.find(port);
    if (link == links_.end() && tc_port == tc_ports_.end()) return;
    const unsigned ifindex = link != links_.end() ? link->second.ifindex : tc_port->second;
    if (link != links_.end()) {
        pins_.unpin(link_pin(port));
        bpf_link_detach(link->second.fd.get());
        links_.erase(link);
    }
    remove({ifindex, TcPoint::ingress});
    tc_ports_.erase(port);
    pins_.unpin(entry_pin(port));
    log_.info("port {}: detached", port);
}

void Attachments::keep_only(const std::vector<std::string>& ports)
{
    std::vector<std::string> gone;
    for (const auto& [port, link] : links_) gone.push_back(port);
    for (const auto& [port, ifindex] : tc_ports_) gone.push_back(port);
    for (const auto& port : gone)
        if (std::find(ports.begin(), ports.end(), port) == ports.end()) detach(port);
    // Leftovers of a kill, and of interfaces that were gone when we started.
    std::set<std::string> names;
    for (const auto& port : ports) names.insert(without_dots(port));
    pins_.keep_only("links", names);
    pins_.keep_only("entries", names);
}

void Attachments::detach_all()
{
    keep_only({});
    uncover();
}

std::optional<Hook> Attachments::hook(const std::string& port) const
{
    if (const auto link = links_.find(port); link != links_.end()) return link->second.hook;
    if (tc_ports_.contains(port)) return Hook::tc;
    return std::nullopt;
}

bool Attachments::needs_bridge(const PortSettings& port) const
{
    const auto link = links_.find(port.name);
    const bool explicit_mode = port.hook == Hook::native || port.hook == Hook::generic;
    return link != links_.end() && explicit_mode && link->second.hook != port.hook;
}

} // namespace evnf
