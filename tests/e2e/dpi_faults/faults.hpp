// SPDX-License-Identifier: MIT
/// What a dissector of nDPI may do to us, for those who send the right words. Never in the plugin that is shipped: the
/// module dpi_faults is built of its sources with EVNF_DPI_FAULTS.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace evnf::dpi {

inline bool says(std::span<const std::byte> packet, std::string_view words)
{
    const auto same = [](std::byte byte, char letter) { return std::to_integer<char>(byte) == letter; };
    return std::search(packet.begin(), packet.end(), words.begin(), words.end(), same) != packet.end();
}

inline void provoke_fault(std::span<const std::byte> packet)
{
    volatile std::uintptr_t nowhere = 0;
    if (says(packet, "EVNF-CRASH")) *reinterpret_cast<volatile int*>(nowhere) = 1;
    if (says(packet, "EVNF-LOOP"))
        while (nowhere == 0) {}
}

} // namespace evnf::dpi
