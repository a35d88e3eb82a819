// SPDX-License-Identifier: MIT
#include "tc_filter.hpp"

#include <fmt/format.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <optional>
#include <stdexcept>
#include <string_view>

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

    bool is_ours() const { return priority == kPriority && handle == kHandle && program.starts_with("evnf_"); }
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

/// The kernel puts a filter for egress at the ingress of an `ingress` qdisc without a word, so it has to be asked.
bool has_clsact(const Device& device)
{
    bool found = false;
    Netlink netlink;
    tcmsg request{};
    request.tcm_ifindex = static_cast<int>(device.ifindex);
    netlink.dump(
        RTM_GETQDISC, &request, sizeof request, [&] { found = false; },
        [&](const nlmsghdr& message) {
            const auto* header = static_cast<const tcmsg*>(mnl_nlmsg_get_payload(&message));
            const auto attributes = attributes_of<TCA_MAX>(message, sizeof *header);
            found |= header->tcm_ifindex == request.tcm_ifindex && attributes[TCA_KIND] &&
                     std::string_view{mnl_attr_get_str(attributes[TCA_KIND])} == "clsact";
        });
    return found;
}

void make_clsact(const Device& device, bpf_tc_hook& hook)
{
    const int error = bpf_tc_hook_create(&hook);
    if (error && error != -EEXIST) throw_errno(-error, fmt::format("{}: cannot make the clsact qdisc", device.name));
    if (error && !has_clsact(device))
        throw std::runtime_error{fmt::format("{0}: an 'ingress' qdisc stands in the place of 'clsact': eVNF does not remove it; do so "
                                             "yourself with: tc qdisc del dev {0} ingress",
                                             device.name)};
}

/// All filters of a priority are of one kind and protocol: one that is not ours may stand in the way with any handle.
void refuse_foreign(const Device& device, TcPoint point, int error)
{
    for (const auto& filter : filters_at(device, point)) {
        if (filter.priority != kPriority || filter.is_ours() || (error == -EEXIST && filter.handle != kHandle)) continue;
        throw std::runtime_error{fmt::format(
            "{0}: another filter stands at tc {1}, priority {2}, handle {3:#x}: eVNF does not remove it; do so yourself with: "
            "tc filter del dev {0} {1} pref {2}",
            device.name, point_name(point), kPriority, filter.handle)};
    }
}

} // namespace

bool interface_exists(unsigned ifindex)
{
    std::array<char, IF_NAMESIZE> name{};
    return if_indextoname(ifindex, name.data()) != nullptr;
}

void set_filter(const Device& device, TcPoint point, int program)
{
    bpf_tc_hook hook = hook_of(device, point);
    make_clsact(device, hook);
    bpf_tc_opts fresh = options_of(program, 0);
    int error = bpf_tc_attach(&hook, &fresh);
    if (error) refuse_foreign(device, point, error);
    if (error == -EEXIST) {
        bpf_tc_opts replacing = options_of(program, BPF_TC_F_REPLACE);
        error = bpf_tc_attach(&hook, &replacing);
    }
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
