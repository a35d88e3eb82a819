// SPDX-License-Identifier: MIT
#include "redirect_errors.hpp"

#include <spdlog/logger.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "redirect_errors_bpf.skel.h"

#include <evnf/bpf.hpp>

namespace evnf {
namespace {

MapRef ports_map(redirect_errors_bpf& skeleton)
{
    return {bpf_map__fd(skeleton.maps.our_ports), "our_ports"};
}

std::uint32_t network_namespace()
{
    struct stat status {};
    if (stat("/proc/self/ns/net", &status)) throw_errno(errno, "cannot read /proc/self/ns/net");
    return static_cast<std::uint32_t>(status.st_ino);
}

} // namespace

void RedirectErrors::Destroy::operator()(redirect_errors_bpf* skeleton) const noexcept
{
    redirect_errors_bpf::destroy(skeleton);
}

RedirectErrors::RedirectErrors(spdlog::logger& log) : skeleton_{redirect_errors_bpf::open()}
{
    if (!skeleton_) throw_errno(errno, "cannot open the BPF object redirect_errors");
    skeleton_->rodata->netns_inum = network_namespace();
    int error = redirect_errors_bpf::load(skeleton_.get());
    if (!error) error = redirect_errors_bpf::attach(skeleton_.get());
    if (!error) return;
    char reason[128] = "";
    libbpf_strerror(error, reason, sizeof reason);
    log.warn("redirect errors are not counted: the kernel refuses the programs on its XDP tracepoints: {} "
             "(they need CONFIG_DEBUG_INFO_BTF)",
             reason);
    skeleton_.reset();
}

void RedirectErrors::set_ports(const std::vector<unsigned>& ifindexes)
{
    if (!skeleton_) return;
    const MapRef ports = ports_map(*skeleton_);
    for (const unsigned ifindex : ports_)
        if (std::find(ifindexes.begin(), ifindexes.end(), ifindex) == ifindexes.end()) ports.erase(ifindex);
    ports_ = ifindexes;
    for (const unsigned ifindex : ports_) ports.update(ifindex, std::uint32_t{1});
}

std::optional<std::uint64_t> RedirectErrors::total() const
{
    if (!skeleton_) return std::nullopt;
    const MapRef counters{bpf_map__fd(skeleton_->maps.redirect_errors), "redirect_errors"};
    const auto per_cpu = counters.find_per_cpu<std::uint64_t>(std::uint32_t{0});
    return std::accumulate(per_cpu.begin(), per_cpu.end(), std::uint64_t{0});
}

} // namespace evnf
