// SPDX-License-Identifier: MIT
#include "offload.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/algorithm/string/predicate.hpp>
#include <boost/algorithm/string/split.hpp>

namespace evnf::dpi {

namespace {

bool is_or_has(const std::string& name, const std::string& wanted, char separator)
{
    if (boost::iequals(name, wanted)) return true;
    std::vector<std::string> parts;
    boost::split(parts, name, [separator](char c) { return c == separator; });
    return std::ranges::any_of(parts, [&](const std::string& part) { return boost::iequals(part, wanted); });
}

} // namespace

bool is_app(const std::string& app, const std::string& wanted)
{
    return is_or_has(app, wanted, '.');
}

bool is_category(const std::string& category, const std::string& wanted)
{
    return is_or_has(category, wanted, '-');
}

std::vector<std::string> read_names(const Node& node, const char* kind, const std::vector<std::string>& known,
                                    bool (*is_named)(const std::string& name, const std::string& wanted))
{
    std::vector<std::string> names;
    for (const auto& one : node.list()) {
        names.push_back(one.string());
        if (std::ranges::none_of(known, [&](const std::string& name) { return is_named(name, names.back()); }))
            one.error(fmt::format("nDPI knows no {} '{}'", kind, names.back()));
    }
    return names;
}

bool Offload::takes(dpi_state state, const Label& label, const Volume& volume) const
{
    if (mode == Mode::none || state < DPI_CLASSIFIED) return false;
    if (mode == Mode::all) return true;
    using namespace std::chrono_literals;
    const auto age = static_cast<std::uint64_t>(std::max(volume.age, std::chrono::milliseconds{1s}).count());
    if (volume.bytes < min_bytes || volume.packets < min_packets || volume.bytes * 1000 / age < min_rate) return false;
    if (label.confidence < DPI_CONFIDENCE_DPI_CACHE) return asks_for_volume();
    return (apps.empty() && categories.empty()) ||
           std::ranges::any_of(apps, [&](const auto& wanted) { return is_app(label.app, wanted); }) ||
           std::ranges::any_of(categories, [&](const auto& wanted) { return is_category(label.category, wanted); });
}

} // namespace evnf::dpi
