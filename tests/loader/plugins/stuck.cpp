// SPDX-License-Identifier: MIT
#include "good.hpp"

#include "stuck_bpf.skel.h"

struct Bad : Good {
    using Good::Good;
    std::unique_ptr<evnf::Staged> stage(const evnf::Node&, const evnf::Ports&) override
    {
        return std::make_unique<GoodStaged<stuck_bpf>>();
    }
};

EVNF_PLUGIN("stuck", Bad, 1, nullptr, evnf::OnError::skip)
