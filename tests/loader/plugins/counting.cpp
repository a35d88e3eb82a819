// SPDX-License-Identifier: MIT
#include "good.hpp"

#include "counting_bpf.skel.h"

struct Other : Good {
    using Good::Good;
    std::unique_ptr<evnf::Staged> stage(const evnf::Node&, const evnf::Ports&) override
    {
        return std::make_unique<GoodStaged<counting_bpf>>();
    }
};

EVNF_PLUGIN("counting", Other, 1, nullptr, evnf::OnError::skip)
