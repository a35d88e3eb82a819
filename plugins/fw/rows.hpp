// SPDX-License-Identifier: MIT
/// Rows of bits, a bit a tuple, each kept once however many values of a field have it.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "fw_shared.h"

namespace evnf::fw {

inline void set(fw_row& row, std::size_t tuple)
{
    row.tuples[tuple / 64] |= std::uint64_t{1} << tuple % 64;
}

inline void clear(fw_row& row, std::size_t tuple)
{
    row.tuples[tuple / 64] &= ~(std::uint64_t{1} << tuple % 64);
}

inline fw_row& operator|=(fw_row& a, const fw_row& b)
{
    for (std::size_t i = 0; i < FW_WORDS; ++i) a.tuples[i] |= b.tuples[i];
    return a;
}

inline fw_row operator|(fw_row a, const fw_row& b)
{
    return a |= b;
}

class Rows {
public:
    /// The row's index; `words` need not be set. Rows of addresses also say which groups hold the addresses.
    std::uint32_t index(fw_row row, std::uint64_t groups = 0);

    std::vector<fw_row> take_rows() { return std::move(rows_); }
    std::vector<std::uint64_t> take_groups() { return std::move(groups_); }

private:
    std::vector<fw_row> rows_;
    std::vector<std::uint64_t> groups_;
    std::unordered_map<std::string, std::uint32_t> known_;
};

} // namespace evnf::fw
