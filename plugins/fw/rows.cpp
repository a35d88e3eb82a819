// SPDX-License-Identifier: MIT
#include "rows.hpp"

namespace evnf::fw {

std::uint32_t Rows::index(fw_row row, std::uint64_t groups)
{
    row.words = 0;
    for (std::size_t i = 0; i < FW_WORDS; ++i) row.words |= std::uint64_t{row.tuples[i] != 0} << i;
    std::string bytes{reinterpret_cast<const char*>(&row), sizeof row};
    bytes.append(reinterpret_cast<const char*>(&groups), sizeof groups);
    const auto [found, is_new] = known_.try_emplace(std::move(bytes), static_cast<std::uint32_t>(rows_.size()));
    if (is_new) {
        rows_.push_back(row);
        groups_.push_back(groups);
    }
    return found->second;
}

} // namespace evnf::fw
