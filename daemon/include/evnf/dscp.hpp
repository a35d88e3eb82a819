// SPDX-License-Identifier: MIT
/// Names of DSCPs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace evnf {

/// By its name in RFC 2474, 2597, 3246, 5865 or 8622, in small letters.
std::optional<std::uint8_t> dscp_number(std::string_view name);
/// Its name, or its number where it has none here.
std::string dscp_text(std::uint8_t dscp);

} // namespace evnf
