// SPDX-License-Identifier: MIT
#include "attachment.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_link.h>

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
fs::path program_pin(const std::string& port)
{
    return fs::path{"entries"} / without_dots(port);
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
        const auto found = query(plan.ifindex);
        throw std::runtime_error{fmt::format(
            "port {}: another XDP {} is attached: eVNF does not detach it; do so yourself with: ip link set dev {} xdp off",
            plan.port, describe_program(found.prog_id), plan.port)};
    }
    throw_errno(error, fmt::format("port {}: cannot attach in {} mode", plan.port, hook_name(hook)));
}

Fd create_link(const AttachmentPlan& plan, Hook hook, int& error)
{
    LIBBPF_OPTS(bpf_link_create_opts, options, .flags = hook == Hook::generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
    const int fd = bpf_link_create(plan.program, static_cast<int>(plan.ifindex), BPF_XDP, &options);
    error = fd < 0 ? -fd : 0;
    return Fd{fd < 0 ? -1 : fd};
}

} // namespace

const char* hook_name(Hook hook)
{
    return hook == Hook::generic ? "generic" : "native";
}

Attachments::Attachments(const PinDirectory& pins, spdlog::logger& log) : pins_{pins}, log_{log}
{
    const auto directory = pins_.path() / "links";
    if (!fs::exists(directory)) return;
    std::vector<std::string> ports;
    for (const auto& entry : fs::directory_iterator{directory}) ports.push_back(with_dots(entry.path().filename().string()));
    for (const auto& port : ports)
        if (auto link = adopt(port)) links_.emplace(port, std::move(*link));
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
    Fd program = pins_.open(program_pin(port));
    const int adopted = program.get();
    return Link{std::move(fd), info.xdp.ifindex, hook, adopted, std::move(program)};
}

Attachments::Link Attachments::create(const AttachmentPlan& plan) const
{
    const Hook hook = plan.hook == Hook::generic ? Hook::generic : Hook::native;
    int error = 0;
    Link link{create_link(plan, hook, error), plan.ifindex, hook, plan.program, Fd{}};
    const bool fall_back = error != 0 && error != EBUSY && error != EEXIST && plan.hook == Hook::automatic;
    if (fall_back) {
        log_.warn("port {}: the driver refuses native XDP ({}): attached in generic mode, which is slower", plan.port,
                  std::strerror(error));
        link.hook = Hook::generic;
        link.fd = create_link(plan, Hook::generic, error);
    }
    if (error) throw_attach_error(plan, link.hook, error);
    pins_.pin(link.fd.get(), link_pin(plan.port));
    return link;
}

/// The kernel cannot change the mode of a link, and between two links packets would pass unseen.
void Attachments::check_hook(const Link& link, const AttachmentPlan& plan) const
{
    if (plan.hook == Hook::automatic || plan.hook == link.hook) return;
    throw std::runtime_error{fmt::format(
        "port {}: is attached in {} mode and cannot go to {} without a gap: evnfctl detach, then start evnfd again",
        plan.port, hook_name(link.hook), hook_name(plan.hook))};
}

void Attachments::prepare(const std::vector<AttachmentPlan>& plans) const
{
    for (const auto& plan : plans) pins_.pin(plan.program, next(program_pin(plan.port)));
}

/// What cannot be renamed is renamed by the next start.
void Attachments::keep_programs(const std::vector<AttachmentPlan>& plans) const noexcept
try {
    for (const auto& plan : plans) pins_.rename(next(program_pin(plan.port)), program_pin(plan.port));
} catch (const std::exception& error) {
    log_.error("the entries of this generation are not all in their place yet: {}", error.what());
}

void Attachments::swap(const std::vector<AttachmentPlan>& plans)
{
    std::map<std::string, int> before;
    std::vector<AttachmentPlan> done;
    try {
        for (const auto& plan : plans) {
            auto found = links_.find(plan.port);
            if (found != links_.end() && found->second.ifindex != plan.ifindex) {
                // The interface went and another came under its name: the old link is dead.
                pins_.unpin(link_pin(plan.port));
                links_.erase(found);
                found = links_.end();
            }
            if (found == links_.end()) {
                links_.emplace(plan.port, create(plan));
            } else {
                check_hook(found->second, plan);
                before[plan.port] = found->second.program;
                if (const int error = bpf_link_update(found->second.fd.get(), plan.program, nullptr))
                    throw_errno(-error, fmt::format("port {}: cannot point its link at the new program", plan.port));
                found->second.program = plan.program;
            }
            done.push_back(plan);
        }
    } catch (...) {
        roll_back(done, before);
        throw;
    }
    keep_programs(plans);
}

void Attachments::roll_back(const std::vector<AttachmentPlan>& done, const std::map<std::string, int>& before)
{
    for (const auto& plan : done) {
        auto& link = links_.at(plan.port);
        const auto old = before.find(plan.port);
        if (old == before.end()) {
            pins_.unpin(link_pin(plan.port));
            links_.erase(plan.port);
            continue;
        }
        const int error = bpf_link_update(link.fd.get(), old->second, nullptr);
        if (error) log_.error("port {}: cannot go back to the old program: {}", plan.port, std::strerror(-error));
        link.program = old->second;
    }
}

void Attachments::keep_only(const std::vector<std::string>& ports)
{
    for (auto link = links_.begin(); link != links_.end();) {
        if (std::find(ports.begin(), ports.end(), link->first) != ports.end()) {
            ++link;
            continue;
        }
        pins_.unpin(link_pin(link->first));
        pins_.unpin(program_pin(link->first));
        log_.info("port {}: detached", link->first);
        link = links_.erase(link);
    }
    // Leftovers of a kill, and of interfaces that were gone when we started.
    std::set<std::string> names;
    for (const auto& port : ports) names.insert(without_dots(port));
    pins_.keep_only("links", names);
    pins_.keep_only("entries", names);
}

void Attachments::detach_all()
{
    keep_only({});
}

std::optional<Hook> Attachments::hook(const std::string& port) const
{
    const auto found = links_.find(port);
    if (found == links_.end()) return std::nullopt;
    return found->second.hook;
}

} // namespace evnf
