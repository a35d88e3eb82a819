// SPDX-License-Identifier: MIT
/// Interfaces that take frames whoever they are for.
#pragma once

#include <map>
#include <set>

#include <evnf/bpf.hpp>

namespace evnf {

/// Keeps interfaces in promiscuous mode as long as this object, and so the daemon, lives; the kernel takes back what a
/// dead one asked for, and nothing that others asked for. Needs CAP_NET_RAW where there is one.
class Promiscuous {
public:
    /// These, and no others any more. Throws std::system_error, naming the interface; those before it are in that mode then.
    void set(const std::set<unsigned>& ifindexes);

private:
    std::map<unsigned, Fd> memberships_; ///< by interface index; a packet socket that receives nothing
};

} // namespace evnf
