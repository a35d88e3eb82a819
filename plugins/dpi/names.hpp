// SPDX-License-Identifier: MIT
/// The words of dpi's answers and records.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dpi_shared.h"

namespace evnf::dpi {

/// "tcp", "icmpv6", …; a number where there is no name.
std::string protocol_name(std::uint8_t protocol);
/// ndpiReader's words.
std::string_view confidence_name(dpi_confidence confidence);

} // namespace evnf::dpi
