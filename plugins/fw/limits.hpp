// SPDX-License-Identifier: MIT
/// The slow path's side of limits per source, destination or flow: who has not spent anything of his is forgotten.
#pragma once

#include <cstddef>
#include <vector>

#include <evnf/bpf.hpp>

#include "fw_shared.h"

namespace evnf::fw {

class Limits {
public:
    /// `due` is fw_due, which must outlive this.
    explicit Limits(MapRef due) : due_{std::move(due)} {}

    /// Looks at the next part of the table, a bounded number of entries. True where that was the last; the next call begins again.
    bool expire_some();

private:
    MapRef due_;
    std::vector<std::byte> cursor_;
};

/// What is kept of limits of these slots, which other rules had before.
void forget_limits(const MapRef& due, const std::vector<std::uint32_t>& slots);

} // namespace evnf::fw
