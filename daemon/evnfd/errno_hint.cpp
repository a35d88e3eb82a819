// SPDX-License-Identifier: MIT
#include "errno_hint.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace evnf {

namespace {

const char* hint(int error)
{
    switch (error) {
    case EPERM: return "evnfd needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: run it as root or by its systemd unit";
    case ENOMEM: return "the machine or evnfd's cgroup (MemoryMax=) has no memory left: make tables smaller, or the limit larger";
    case E2BIG: return "larger than the kernel allows: make tables in the configuration smaller";
    case ENOSPC: return "the file system is full: make room on it";
    case EROFS: return "mount -o remount,rw makes it writable; in a systemd unit ProtectKernelTunables=yes is what makes bpffs read-only";
    default: return nullptr;
    }
}

} // namespace

std::string describe_errno(int error, const std::string& what)
{
    const char* remedy = hint(error);
    return remedy ? fmt::format("{}: {}: {}", what, std::strerror(error), remedy) : fmt::format("{}: {}", what, std::strerror(error));
}

void throw_with_hint(int error, const std::string& what)
{
    throw std::runtime_error{describe_errno(error, what)};
}

} // namespace evnf
