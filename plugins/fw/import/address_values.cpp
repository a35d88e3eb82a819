// SPDX-License-Identifier: MIT
#include "address_values.hpp"

#include <arpa/inet.h>

#include <fmt/format.h>

#include "names.hpp"

namespace evnf::fw::iptables {

namespace {

unsigned bits_of(Family family)
{
    return family == Family::v4 ? 32 : 128;
}

AddressValue bound_of(Family family)
{
    return all_addresses(family).intervals().front().last;
}

std::optional<AddressValue> value_of(std::string_view text, Family family)
{
    unsigned char bytes[16];
    if (inet_pton(family == Family::v4 ? AF_INET : AF_INET6, std::string{text}.c_str(), bytes) != 1) return std::nullopt;
    AddressValue value = 0;
    for (unsigned i = 0; i < bits_of(family) / 8; ++i) value = value << 8 | bytes[i];
    return value;
}

std::string text_of(AddressValue value, Family family)
{
    unsigned char bytes[16];
    for (unsigned i = bits_of(family) / 8; i-- > 0; value >>= 8) bytes[i] = static_cast<unsigned char>(value);
    char text[INET6_ADDRSTRLEN];
    return inet_ntop(family == Family::v4 ? AF_INET : AF_INET6, bytes, text, sizeof text);
}

/// The mask's host bits: of "24" or "255.255.255.0" the lowest eight.
std::optional<AddressValue> host_bits_of(std::string_view text, Family family)
{
    if (const auto length = number_of(text, bits_of(family))) return *length == bits_of(family) ? 0 : bound_of(family) >> *length;
    const auto mask = value_of(text, family);
    if (!mask) return std::nullopt;
    const AddressValue host = bound_of(family) & ~*mask;
    return (host & (host + 1)) == 0 ? std::optional{host} : std::nullopt;
}

/// In ::ffff:0:0/96. eVNF drops such packets before any rule, and writes IPv4 addresses so.
bool is_mapped(AddressValue first, unsigned length, Family family)
{
    return family == Family::v6 && length >= 96 && first >> 32 == 0xffff;
}

} // namespace

std::optional<AddressSet> network_of(std::string_view text, Family family)
{
    const auto slash = text.find('/');
    const auto address = value_of(text.substr(0, slash), family);
    const auto host = slash == std::string_view::npos ? AddressValue{0} : host_bits_of(text.substr(slash + 1), family);
    if (!address || !host) return std::nullopt;
    return AddressSet::of(bound_of(family), *address & ~*host, *address | *host);
}

std::optional<AddressSet> range_of(std::string_view text, Family family)
{
    const auto dash = text.find('-');
    const auto first = value_of(text.substr(0, dash), family);
    const auto last = dash == std::string_view::npos ? first : value_of(text.substr(dash + 1), family);
    if (!first || !last || *first > *last) return std::nullopt;
    return AddressSet::of(bound_of(family), *first, *last);
}

std::vector<std::string> prefixes_of(const AddressSet& addresses, Family family)
{
    std::vector<std::string> texts;
    for (auto [first, last] : addresses.intervals()) {
        for (bool more = true; more;) {
            unsigned length = bits_of(family);
            AddressValue host = 0;
            for (AddressValue wider = 1; length > 0 && !(first & wider) && (first | wider | host) <= last; wider = host + 1) {
                host = host << 1 | 1;
                --length;
            }
            if (!is_mapped(first, length, family)) texts.push_back(fmt::format("{}/{}", text_of(first, family), length));
            more = first + host != last;
            first += host + 1;
        }
    }
    return texts;
}

const char* all_prefix(Family family)
{
    return family == Family::v4 ? "0.0.0.0/0" : "::/0";
}

} // namespace evnf::fw::iptables
