// SPDX-License-Identifier: MIT
#include "addresses.hpp"

#include <fmt/format.h>

#include <evnf/slots.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "fw_shared.h"

namespace evnf::fw {

namespace {

std::string_view trimmed(std::string_view text)
{
    constexpr std::string_view blanks = " \t\r";
    const auto begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

std::vector<Prefix> read_file(const Node& node)
{
    const auto path = std::filesystem::path{node.problems().file()}.parent_path() / node.string();
    return read_prefix_file(path, [&](const std::string& problem) { node.error(problem); });
}

std::vector<Prefix> read_set(const Node& node)
{
    std::vector<Prefix> prefixes;
    if (node.is_map()) {
        Map map{node};
        if (const auto file = map.required("file"); file.present()) prefixes = read_file(file);
        map.done();
        return prefixes;
    }
    if (!node.present()) node.error("must be a list of prefixes or {file: PATH}");
    for (const auto& element : node.list()) prefixes.push_back(element.prefix());
    return prefixes;
}

/// Adds what one text of the list means; `text` is without its "!".
void add(Addresses& addresses, std::string_view text, const Node& node, const Sets& sets)
{
    if (text.starts_with('$')) {
        const auto set = sets.find(text.substr(1));
        if (set == sets.end())
            node.error(fmt::format("there is no '{}' in sets", text.substr(1)));
        else if (std::find(addresses.sets.begin(), addresses.sets.end(), set->first) == addresses.sets.end())
            addresses.sets.push_back(set->first);
        return;
    }
    std::string why;
    if (const auto prefix = Prefix::parse(text, why))
        addresses.prefixes.push_back(*prefix);
    else
        node.error(fmt::format("'{}' {}", text, why));
}

/// YAML takes a "!10.0.0.0/8" without quotes for the tag of an empty text.
bool lacks_quotes(const Node& node)
{
    return node.is_scalar() && node.yaml().Scalar().empty() && node.yaml().Tag().size() > 1;
}

} // namespace

std::vector<Prefix> read_prefix_file(const std::filesystem::path& path, const std::function<void(const std::string&)>& problem)
{
    std::ifstream file{path};
    std::vector<Prefix> prefixes;
    std::string line, why;
    for (int number = 1; std::getline(file, line); ++number) {
        const auto text = trimmed(std::string_view{line}.substr(0, line.find('#')));
        if (text.empty()) continue;
        if (const auto prefix = Prefix::parse(text, why))
            prefixes.push_back(*prefix);
        else
            problem(fmt::format("{}:{}: '{}' {}", path.string(), number, text, why));
    }
    if (!file.eof()) problem(fmt::format("cannot read {}: {}", path.string(), std::strerror(errno)));
    return prefixes;
}

Sets read_sets(const Node& node)
{
    Sets sets;
    Map map{node};
    for (const auto& [name, value] : map.entries()) {
        if (name.size() >= kSlotNameSize) value.error(fmt::format("the name of a set must be shorter than {} bytes", kSlotNameSize));
        sets[name] = read_set(value);
    }
    if (sets.size() > FW_SET_NAMES) node.error(fmt::format("has {} sets; this version takes at most {}", sets.size(), +FW_SET_NAMES));
    return sets;
}

Addresses read_addresses(const Node& node, const Sets& sets)
{
    Addresses addresses;
    const auto elements = node.list();
    if (elements.empty()) node.error("must not be an empty list");
    for (std::size_t i = 0; i < elements.size(); ++i) {
        if (lacks_quotes(elements[i])) {
            elements[i].error("a text that begins with '!' must stand in quotes");
            continue;
        }
        const auto text = elements[i].string();
        if (text.empty()) continue;
        const bool negated = text.starts_with('!');
        if (i == 0) addresses.negated = negated;
        if (negated != addresses.negated)
            elements[i].error("'!' must stand before every element of the list or before none");
        add(addresses, std::string_view{text}.substr(negated ? 1 : 0), elements[i], sets);
    }
    return addresses;
}

Number128 number_of(const Address& address)
{
    Number128 number = 0;
    for (const auto byte : address.raw.bytes) number = number << 8 | byte;
    return number;
}

Address address_of(Number128 number)
{
    Address address;
    for (int byte = 15; byte >= 0; --byte, number >>= 8) address.raw.bytes[byte] = static_cast<std::uint8_t>(number);
    return address;
}

std::optional<std::uint64_t> mac_address(std::string_view text)
{
    std::uint64_t mac = 0;
    if (text.size() != 17) return std::nullopt;
    for (std::size_t i = 0; i < text.size(); i += 3) {
        unsigned byte = 0;
        const auto [end, failed] = std::from_chars(&text[i], &text[i] + 2, byte, 16);
        if (failed != std::errc{} || end != &text[i] + 2 || (i < 15 && text[i + 2] != ':')) return std::nullopt;
        mac = mac << 8 | byte;
    }
    return mac;
}

std::string mac_text(std::uint64_t mac)
{
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac >> 40 & 0xff, mac >> 32 & 0xff, mac >> 24 & 0xff,
                       mac >> 16 & 0xff, mac >> 8 & 0xff, mac & 0xff);
}

} // namespace evnf::fw
