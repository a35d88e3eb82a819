// SPDX-License-Identifier: MIT
#pragma once

#include <string_view>
#include <vector>

namespace evnf::fw::iptables {

/// What stands between the commas; views of `text`.
inline std::vector<std::string_view> elements_of(std::string_view text)
{
    std::vector<std::string_view> elements;
    for (auto comma = text.find(','); comma != std::string_view::npos; comma = text.find(',')) {
        elements.push_back(text.substr(0, comma));
        text.remove_prefix(comma + 1);
    }
    elements.push_back(text);
    return elements;
}

} // namespace evnf::fw::iptables
