// SPDX-License-Identifier: MIT
#include "router.hpp"

#include <fcntl.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <sched.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "chain.hpp"

#include "clock_bpf.skel.h"
#include "entry_bpf.skel.h"
#include "entry_tc_bpf.skel.h"
#include "forwarder_bpf.skel.h"
#include "forwarder_tc_bpf.skel.h"

namespace evnf::test {

namespace {

void check(int error, const std::string& what)
{
    if (error < 0) throw_errno(-error, what);
}

bpf_object* open_object(const void* bytes, std::size_t size)
{
    bpf_object* object = bpf_object__open_mem(bytes, size, nullptr);
    if (!object) throw_errno(errno, "cannot open a BPF object");
    return object;
}

template <class Skeleton>
bpf_object* open_object()
{
    std::size_t size = 0;
    const void* bytes = Skeleton::elf_bytes(&size);
    return open_object(bytes, size);
}

int program(bpf_object* object)
{
    return bpf_program__fd(bpf_object__next_program(object, nullptr));
}

Action action_of(__u32 returned, const evnf_packet& packet)
{
    const bool unresolved = packet.verdict == EVNF_KERNEL && packet.reason == EVNF_REASON_NO_NEIGHBOUR;
    if (at_tc) {
        switch (static_cast<int>(returned)) {
        case TC_ACT_UNSPEC: return Action::to_kernel;
        case TC_ACT_REDIRECT: return unresolved ? Action::unresolved : Action::sent;
        default: return Action::dropped;
        }
    }
    switch (returned) {
    case XDP_PASS: return unresolved ? Action::unresolved : Action::to_kernel;
    case XDP_REDIRECT: return Action::sent;
    default: return Action::dropped;
    }
}

void write_file(const std::string& path, const std::string& text)
{
    std::ofstream file{path};
    file << text;
    if (!file.flush()) throw_errno(errno, "cannot write " + path);
}

} // namespace

void Router::CloseObject::operator()(bpf_object* object) const
{
    bpf_object__close(object);
}

Router::Router(Mode mode) : outside_{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)}
{
    if (!outside_ || ::unshare(CLONE_NEWNET)) throw_errno(errno, "cannot make a network namespace");
    for (const char* port : {"eth0", "eth1"}) {
        const std::string name{port};
        ip("link add " + name + " type veth peer name peer-" + name);
        ip("link set " + name + " up");
        ip("link set peer-" + name + " up");
    }
    ip("address add 10.1.0.1/24 dev eth0");
    ip("address add 10.3.1.1/24 dev eth1");
    ip("address add 2001:db8:1::1/64 dev eth0 nodad");
    ip("address add 2001:db8:31::1/64 dev eth1 nodad");
    write_file("/proc/sys/net/ipv4/ip_forward", "1");
    write_file("/proc/sys/net/ipv6/conf/all/forwarding", "1");
    eth0_ = if_nametoindex("eth0");

    const bool wire = mode == Mode::wire, tap = mode == Mode::tap;
    clock_.reset(open_object<clock_bpf>());
    check(bpf_object__load(clock_.get()), "cannot load the clock");
    // A program on the port gives it the receive queue that a test run needs.
    check(bpf_xdp_attach(static_cast<int>(eth0_), program(clock_.get()), 0, nullptr),
          "cannot attach to eth0");
    entry_.reset(at_tc ? open_object<entry_tc_bpf>() : open_object<entry_bpf>());
    load(entry_, {.stage = EVNF_STAGE_ENTRY, .wire = wire, .resume = EVNF_RESUME_DONE, .tap = tap});
    forwarder_.reset(at_tc ? open_object<forwarder_tc_bpf>() : open_object<forwarder_bpf>());
    load(forwarder_, {.stage = EVNF_STAGE_FORWARDER, .wire = wire, .resume = EVNF_RESUME_DONE, .tap = tap});

    map(at_tc ? "evnf_tc_chain" : "evnf_chain").update(std::uint32_t{0}, program(forwarder_.get()));
    for (std::uint32_t port = 0; port < 2; ++port) {
        const std::uint32_t ifindex = if_nametoindex(port ? "eth1" : "eth0");
        map("evnf_port_by_ifindex").update(ifindex, port);
        map("evnf_egress").update(port, ifindex);
        set_port(port, {.wire = static_cast<__u16>(1 - port), .ifindex = ifindex});
    }
    routing_changed();
}

Router::~Router()
{
    if (::setns(outside_.get(), CLONE_NEWNET)) std::abort(); // the next test would run in the wrong place
}

void Router::load(const Object& object, const evnf_stage_config& config)
{
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object.get())
    {
        const std::string name{bpf_map__name(map)};
        if (name.ends_with(".rodata.evnf"))
            check(bpf_map__set_initial_value(map, &config, sizeof config), "cannot configure a stage");
        check(bpf_map__set_pin_path(map, nullptr), "cannot unpin " + name);
        // The forwarder shares the entry's maps.
        bpf_map* shared =
            entry_ && entry_ != object ? bpf_object__find_map_by_name(entry_.get(), name.c_str()) : nullptr;
        if (shared && name.starts_with("evnf_"))
            check(bpf_map__reuse_fd(map, bpf_map__fd(shared)), "cannot share " + name);
    }
    check(bpf_object__load(object.get()), "cannot load a stage");
}

MapRef Router::map(const char* name) const
{
    for (const auto* object : {forwarder_.get(), entry_.get()})
        if (const bpf_map* map = bpf_object__find_map_by_name(object, name)) return {bpf_map__fd(map), name};
    throw std::out_of_range{name};
}

Forwarded Router::run(const Frame& frame)
{
    Forwarded result{Action::dropped, Frame(frame.size() + 64), {}};
    xdp_md xdp{.data_end = static_cast<__u32>(frame.size()), .ingress_ifindex = eth0_};
    xdp_md xdp_out{};
    __sk_buff tc{}, tc_out{};
    tc.ingress_ifindex = tc.ifindex = eth0_;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = result.frame.data(),
                .data_size_in = static_cast<__u32>(frame.size()),
                .data_size_out = static_cast<__u32>(result.frame.size()), .ctx_in = at_tc ? static_cast<const void*>(&tc) : &xdp,
                .ctx_out = at_tc ? static_cast<void*>(&tc_out) : &xdp_out,
                .ctx_size_in = static_cast<__u32>(at_tc ? sizeof tc : sizeof xdp),
                .ctx_size_out = static_cast<__u32>(at_tc ? sizeof tc : sizeof xdp));
    // The parsed packet is per CPU: stay where the program runs.
    cpu_set_t before, here;
    sched_getaffinity(0, sizeof before, &before);
    const auto cpu = static_cast<std::size_t>(sched_getcpu());
    CPU_ZERO(&here);
    CPU_SET(cpu, &here);
    sched_setaffinity(0, sizeof here, &here);
    const int error = bpf_prog_test_run_opts(program(entry_.get()), &options);
    result.packet = map("evnf_packets").find_per_cpu<evnf_packet>(std::uint32_t{0}).at(cpu);
    sched_setaffinity(0, sizeof before, &before);
    check(error, "cannot run the entry");
    result.frame.resize(options.data_size_out);
    // With a context, what XDP left as metadata comes before the frame.
    const __u32 metadata = at_tc ? 0 : xdp_out.data;
    result.frame.erase(result.frame.begin(), result.frame.begin() + metadata);
    result.action = action_of(options.retval, result.packet);
    return result;
}

void Router::ip(const std::string& arguments)
{
    const std::string command = "ip " + arguments;
    if (std::system(command.c_str())) throw std::runtime_error{command + " failed"};
}

void Router::routing_changed(bool cacheable)
{
    map("evnf_routing").update(std::uint32_t{0}, evnf_routing{++routing_generation_, cacheable});
}

void Router::set_port(std::uint32_t port, const evnf_port_config& config)
{
    map("evnf_port_configs").update(port, config);
}

} // namespace evnf::test
