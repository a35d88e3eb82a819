// SPDX-License-Identifier: MIT
/// The router that does no more than it must, as the limit of what one can be.
#pragma once

#include <string>

#include "bare_forward_bpf.skel.h"
#include "skeleton.hpp"

namespace evnf::test {

/// Makes the network namespace `router`, which this thread enters, a bare router until the result goes; none where it is "".
inline Owned<bare_forward_bpf> bare_router(const std::string& router)
{
    if (router.empty()) return nullptr;
    enter(router);
    auto bare = open<bare_forward_bpf>();
    must(bare_forward_bpf::load(bare.get()), "cannot load the bare forwarder");
    const MapRef egress{bpf_map__fd(bare->maps.egress), "egress"};
    for (const char* port : {"eth0", "eth1", "eth2"})
        egress.update(interface_index(port), interface_index(port));
    bare->links.bare_forward = attach_to_eth0(bare->progs.bare_forward);
    return bare;
}

} // namespace evnf::test
