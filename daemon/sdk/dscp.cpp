// SPDX-License-Identifier: MIT
#include <evnf/dscp.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace evnf {

namespace {

using Named = std::pair<std::string_view, std::uint8_t>;

constexpr std::array kDscps{
    Named{"cs0", 0},   Named{"cs1", 8},   Named{"cs2", 16},  Named{"cs3", 24},  Named{"cs4", 32},  Named{"cs5", 40},
    Named{"cs6", 48},  Named{"cs7", 56},  Named{"af11", 10}, Named{"af12", 12}, Named{"af13", 14}, Named{"af21", 18},
    Named{"af22", 20}, Named{"af23", 22}, Named{"af31", 26}, Named{"af32", 28}, Named{"af33", 30}, Named{"af41", 34},
    Named{"af42", 36}, Named{"af43", 38}, Named{"ef", 46},   Named{"va", 44},   Named{"le", 1},
};

} // namespace

std::optional<std::uint8_t> dscp_number(std::string_view name)
{
    const auto found = std::ranges::find(kDscps, name, &Named::first);
    if (found == kDscps.end()) return std::nullopt;
    return found->second;
}

std::string dscp_text(std::uint8_t dscp)
{
    const auto found = std::ranges::find(kDscps, dscp, &Named::second);
    return found == kDscps.end() ? std::to_string(dscp) : std::string{found->first};
}

} // namespace evnf
