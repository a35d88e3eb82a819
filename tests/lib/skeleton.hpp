// SPDX-License-Identifier: MIT
/// BPF skeletons and network namespaces, for programs that send and receive in the lab.
#pragma once

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>

#include <cerrno>
#include <memory>
#include <string>

#include <evnf/bpf.hpp>

namespace evnf::test {

/// Owns a skeleton: its programs, maps and links go with it.
template <class Skeleton>
struct Destroy {
    void operator()(Skeleton* skeleton) const { Skeleton::destroy(skeleton); }
};
template <class Skeleton>
using Owned = std::unique_ptr<Skeleton, Destroy<Skeleton>>;

template <class Skeleton>
Owned<Skeleton> open()
{
    Owned<Skeleton> skeleton{Skeleton::open()};
    if (!skeleton) throw_errno(errno, "cannot open a BPF object");
    return skeleton;
}

/// For functions of libbpf that give 0 or a negative errno.
inline void must(int error, const char* what)
{
    if (error) throw_errno(-error, what);
}

/// This thread is in that network namespace from here on.
inline void enter(const std::string& file)
{
    const Fd space{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!space || ::setns(space.get(), CLONE_NEWNET)) throw_errno(errno, "cannot enter " + file);
}

inline std::uint32_t interface_index(const char* name)
{
    const std::uint32_t index = if_nametoindex(name);
    if (!index) throw_errno(errno, std::string{"no interface "} + name);
    return index;
}

/// The program takes what arrives at eth0, natively, until the link is destroyed.
inline bpf_link* attach_to_eth0(const bpf_program* program)
{
    bpf_link* link = bpf_program__attach_xdp(program, static_cast<int>(interface_index("eth0")));
    if (!link) throw_errno(errno, "cannot attach to eth0");
    return link;
}

} // namespace evnf::test
