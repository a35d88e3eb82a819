// SPDX-License-Identifier: MIT
#include "tc_filter.hpp"

#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cerrno>
#include <optional>
#include <stdexcept>

#include <evnf/bpf.hpp>

#include "netlink.hpp"

namespace evnf {

namespace {

// Before other people's filters, which see the packet after ours.
constexpr std::uint32_t kHandle = 0xe5f1, kPriority = 1;

const char* point_name(TcPoint point)
{
    return point == TcPoint::ingress ? "ingress" : "egress";
}

bpf_tc_hook hook_of(const Device& device, TcPoint point)
{
    bpf_tc_hook hook{};
    hook.sz = sizeof hook;
    hook.ifindex = static_cast<int>(device.ifindex);
    hook.attach_point = point == TcPoint::ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
    return hook;
}

bpf_tc_opts options_of(int program, std::uint32_t flags)
{
    bpf_tc_opts options{};
    options.sz = sizeof options;
    options.prog_fd = program;
    options.flags = flags;
    options.handle = kHandle;
    options.priority = kPriority;
    return options;
}

struct Filter {
    std::uint32_t priority, handle;
    std::string program; ///< as libbpf names it: "evnf_resume:[123]"; empty where the filter is no BPF program

    bool at_our_place() const { return priority == kPriority && handle == kHandle; }
    bool is_ours() const { return at_our_place() && program.starts_with("evnf_"); }
};

std::optional<Filter> filter_of(const nlmsghdr& message)
{
    const auto* header = static_cast<const tcmsg*>(mnl_nlmsg_get_payload(&message));
    const auto attributes = attributes_of<TCA_MAX>(message, sizeof *header);
    // Of each chain the kernel also lists its head, which is no filter.
    if (!attributes[TCA_OPTIONS] || header->tcm_handle == 0) return std::nullopt;
    Filter filter{TC_H_MAJ(header->tcm_info) >> 16, header->tcm_handle, {}};
    for_each_nested(attributes[TCA_OPTIONS], [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) == TCA_BPF_NAME) filter.program = mnl_attr_get_str(attribute);
    });
    return filter;
}

std::vector<Filter> filters_at(const Device& device, TcPoint point)
{
    std::vector<Filter> filters;
    Netlink netlink;
    tcmsg request{};
    request.tcm_family = AF_UNSPEC;
    request.tcm_ifindex = static_cast<int>(device.ifindex);
    request.tcm_parent = TC_H_MAKE(TC_H_CLSACT, point == TcPoint::ingress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
    netlink.dump(
        RTM_GETTFILTER, &request, sizeof request, [&] { filters.clear(); },
        [&](const nlmsghdr& message) {
            if (const auto filter = filter_of(message)) filters.push_back(*filter);
        });
    return filters;
}

[[noreturn]] void throw_foreign(const Device& device, TcPoint point)
{
    throw std::runtime_error{fmt::format(
        "{}: another filter stands at tc {}, priority {}, handle {:#x}: eVNF does not remove it; do so yourself with: "
        "tc filter del dev {} {} pref {}",
        device.name, point_name(point), kPriority, kHandle, device.name, point_name(point), kPriority)};
}

} // namespace

void set_filter(const Device& device, TcPoint point, int program)
{
    bpf_tc_hook hook = hook_of(device, point);
    const int made = bpf_tc_hook_create(&hook);
    if (made && made != -EEXIST) throw_errno(-made, fmt::format("{}: cannot make the clsact qdisc", device.name));
    bpf_tc_opts fresh = options_of(program, 0);
    int error = bpf_tc_attach(&hook, &fresh);
    if (error == -EEXIST) {
        for (const auto& filter : filters_at(device, point))
            if (filter.at_our_place() && !filter.is_ours()) throw_foreign(device, point);
        bpf_tc_opts replacing = options_of(program, BPF_TC_F_REPLACE);
        error = bpf_tc_attach(&hook, &replacing);
    }
    if (error == -EINVAL || error == -ENOENT)
        throw_errno(-error, fmt::format("{}: cannot put a filter at tc {}; an 'ingress' qdisc in the place of 'clsact' prevents it: "
                                        "tc qdisc del dev {} ingress",
                                        device.name, point_name(point), device.name));
    if (error) throw_errno(-error, fmt::format("{}: cannot put a filter at tc {}", device.name, point_name(point)));
}

void remove_filter(const Device& device, TcPoint point)
{
    if (!has_filter(device, point)) return;
    bpf_tc_hook hook = hook_of(device, point);
    bpf_tc_opts options = options_of(0, 0);
    const int error = bpf_tc_detach(&hook, &options);
    if (error && error != -ENOENT && error != -ENODEV)
        throw_errno(-error, fmt::format("{}: cannot remove the filter at tc {}", device.name, point_name(point)));
    if (!filters_at(device, TcPoint::ingress).empty() || !filters_at(device, TcPoint::egress).empty()) return;
    hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
    bpf_tc_hook_destroy(&hook);
}

bool has_filter(const Device& device, TcPoint point)
{
    try {
        for (const auto& filter : filters_at(device, point))
            if (filter.is_ours()) return true;
    } catch (const std::system_error& error) {
        if (error.code().value() != ENODEV && error.code().value() != EINVAL) throw;
    }
    return false;
}

} // namespace evnf
