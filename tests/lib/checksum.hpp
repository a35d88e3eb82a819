// SPDX-License-Identifier: MIT
/// Checksums from their definitions: the whole data each time, nothing incremental.
#pragma once

#include <cstdint>
#include <string_view>

namespace evnf::test {

/// The Internet checksum (RFC 1071) of the bytes.
std::uint16_t internet_checksum(std::string_view bytes);

/// CRC32c as SCTP writes it (RFC 9260, appendix A), to be stored with its low byte first.
std::uint32_t crc32c(std::string_view bytes);

} // namespace evnf::test
