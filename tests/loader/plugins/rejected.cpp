// SPDX-License-Identifier: MIT
#include "good.hpp"

#include "rejected_bpf.skel.h"

struct Other : Good {
    using Good::Good;
    std::unique_ptr<evnf::Staged> stage(const evnf::Node&, const evnf::Ports&) override
    {
        return std::make_unique<GoodStaged<rejected_bpf>>();
    }
};

EVNF_PLUGIN("rejected", Other, 1, nullptr, evnf::OnError::skip)
