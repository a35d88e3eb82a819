// SPDX-License-Identifier: MIT
/// The first packet of a TCP flow, made from what its entry tells.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "dpi_shared.h"

namespace evnf::dpi {

/// nDPI wants to see how a connection opened, but a copy of each SYN would let a flood of them
/// reach the slow path. So the entry keeps what matters of the first packet, and this makes that
/// packet anew when payload comes: `packet` (from the IP header on, in direction `direction`)
/// lends its addresses and ports. Empty where `packet` is no TCP packet.
std::vector<std::byte> opening_packet(const dpi_opening& opening, std::span<const std::byte> packet,
                                      std::size_t l4_offset, unsigned direction);

} // namespace evnf::dpi
