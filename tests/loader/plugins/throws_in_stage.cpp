// SPDX-License-Identifier: MIT
#include <stdexcept>

#include "good.hpp"

struct ThrowsInStage : Good {
    using Good::Good;
    std::unique_ptr<evnf::Staged> stage(const evnf::Node&, const evnf::Ports&) override
    {
        throw std::runtime_error{"no such luck"};
    }
};

EVNF_PLUGIN("throws_in_stage", ThrowsInStage, 1, nullptr, evnf::OnError::skip)
