// SPDX-License-Identifier: MIT
#include "good.hpp"

#include "two_programs_bpf.skel.h"

struct Bad : Good {
    using Good::Good;
    std::unique_ptr<evnf::Staged> stage(const evnf::Node&, const evnf::Ports&) override
    {
        return std::make_unique<GoodStaged<two_programs_bpf>>();
    }
};

EVNF_PLUGIN("two_programs", Bad, 1, nullptr, evnf::OnError::skip)
