// SPDX-License-Identifier: MIT
/// What the slow path says of flows.
#pragma once

#include <cstdint>
#include <functional>

#include "dpi_shared.h"
#include "ndpi_engine.hpp"

namespace evnf::dpi {

struct Verdict {
    dpi_key key;
    std::uint64_t id;
    dpi_state state; ///< DPI_CLASSIFIED or DPI_GAVE_UP; DPI_INSPECTING where `fresh_budget` is set
    Label label;
    /// The budget is spent, but copies were lost and the application is not known: the flow is to get another budget, and
    /// to be marked anew when copies are lost again.
    bool fresh_budget = false;
};

/// Installs a verdict in the flow's entry; false when that flow is no more. Called on the workers' threads.
using VerdictSink = std::function<bool(const Verdict&)>;

/// What is known of a flow: `state` is final or DPI_INSPECTING.
struct Knowledge {
    dpi_state state;
    Label label;
};

} // namespace evnf::dpi
