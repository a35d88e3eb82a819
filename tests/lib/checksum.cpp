// SPDX-License-Identifier: MIT
#include "checksum.hpp"

namespace evnf::test {

std::uint16_t internet_checksum(std::string_view bytes)
{
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        sum += i % 2 ? byte : byte * 256u;
    }
    while (sum > 0xffff) sum = sum % 65536 + sum / 65536;
    return static_cast<std::uint16_t>(~sum);
}

std::uint32_t crc32c(std::string_view bytes)
{
    constexpr std::uint32_t polynomial = 0x82f63b78; // 0x1edc6f41, bits reversed
    std::uint32_t crc = 0xffffffff;
    for (const char byte : bytes) {
        crc ^= static_cast<unsigned char>(byte);
        for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ polynomial : crc >> 1;
    }
    return ~crc;
}

} // namespace evnf::test
