// SPDX-License-Identifier: MIT
#include "names.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <string>
#include <utility>

#include <evnf/dscp.hpp>

#include "../protocols.hpp"
#include "lists.hpp"

namespace evnf::fw::iptables {

namespace {

constexpr std::uint32_t kAnyType = 255;
constexpr int kAnyCode = -1;

struct IcmpWord {
    std::string_view word;
    std::uint32_t type;
    int code = kAnyCode;
};

constexpr std::array kIcmp{
    IcmpWord{"any", kAnyType},
    IcmpWord{"echo-reply", 0},
    IcmpWord{"pong", 0},
    IcmpWord{"destination-unreachable", 3},
    IcmpWord{"network-unreachable", 3, 0},
    IcmpWord{"host-unreachable", 3, 1},
    IcmpWord{"protocol-unreachable", 3, 2},
    IcmpWord{"port-unreachable", 3, 3},
    IcmpWord{"fragmentation-needed", 3, 4},
    IcmpWord{"source-route-failed", 3, 5},
    IcmpWord{"network-unknown", 3, 6},
    IcmpWord{"host-unknown", 3, 7},
    IcmpWord{"network-prohibited", 3, 9},
    IcmpWord{"host-prohibited", 3, 10},
    IcmpWord{"tos-network-unreachable", 3, 11},
    IcmpWord{"tos-host-unreachable", 3, 12},
    IcmpWord{"communication-prohibited", 3, 13},
    IcmpWord{"host-precedence-violation", 3, 14},
    IcmpWord{"precedence-cutoff", 3, 15},
    IcmpWord{"source-quench", 4},
    IcmpWord{"redirect", 5},
    IcmpWord{"network-redirect", 5, 0},
    IcmpWord{"host-redirect", 5, 1},
    IcmpWord{"tos-network-redirect", 5, 2},
    IcmpWord{"tos-host-redirect", 5, 3},
    IcmpWord{"echo-request", 8},
    IcmpWord{"ping", 8},
    IcmpWord{"router-advertisement", 9},
    IcmpWord{"router-solicitation", 10},
    IcmpWord{"time-exceeded", 11},
    IcmpWord{"ttl-exceeded", 11},
    IcmpWord{"ttl-zero-during-transit", 11, 0},
    IcmpWord{"ttl-zero-during-reassembly", 11, 1},
    IcmpWord{"parameter-problem", 12},
    IcmpWord{"ip-header-bad", 12, 0},
    IcmpWord{"required-option-missing", 12, 1},
    IcmpWord{"timestamp-request", 13},
    IcmpWord{"timestamp-reply", 14},
    IcmpWord{"address-mask-request", 17},
    IcmpWord{"address-mask-reply", 18},
};

constexpr std::array kIcmpv6{
    IcmpWord{"destination-unreachable", 1},
    IcmpWord{"no-route", 1, 0},
    IcmpWord{"communication-prohibited", 1, 1},
    IcmpWord{"beyond-scope", 1, 2},
    IcmpWord{"address-unreachable", 1, 3},
    IcmpWord{"port-unreachable", 1, 4},
    IcmpWord{"failed-policy", 1, 5},
    IcmpWord{"reject-route", 1, 6},
    IcmpWord{"packet-too-big", 2},
    IcmpWord{"time-exceeded", 3},
    IcmpWord{"ttl-exceeded", 3},
    IcmpWord{"ttl-zero-during-transit", 3, 0},
    IcmpWord{"ttl-zero-during-reassembly", 3, 1},
    IcmpWord{"parameter-problem", 4},
    IcmpWord{"bad-header", 4, 0},
    IcmpWord{"unknown-header-type", 4, 1},
    IcmpWord{"unknown-option", 4, 2},
    IcmpWord{"echo-request", 128},
    IcmpWord{"ping", 128},
    IcmpWord{"echo-reply", 129},
    IcmpWord{"pong", 129},
    IcmpWord{"router-solicitation", 133},
    IcmpWord{"router-advertisement", 134},
    IcmpWord{"neighbour-solicitation", 135},
    IcmpWord{"neighbor-solicitation", 135},
    IcmpWord{"neighbour-advertisement", 136},
    IcmpWord{"neighbor-advertisement", 136},
    IcmpWord{"redirect", 137},
};

std::string lower(std::string_view text)
{
    std::string result{text};
    for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return result;
}

NumberSet icmp_set(std::uint32_t type, std::uint32_t first_code, std::uint32_t last_code)
{
    return NumberSet::of(kMaxIcmp, type << 8 | first_code, type << 8 | last_code);
}

template <class Words>
std::optional<NumberSet> icmp_word(const Words& words, const std::string& text)
{
    const auto found = std::find_if(words.begin(), words.end(), [&](const IcmpWord& word) { return word.word == text; });
    if (found == words.end()) return std::nullopt;
    if (found->type == kAnyType) return NumberSet::all(kMaxIcmp);
    if (found->code == kAnyCode) return icmp_set(found->type, 0, 255);
    return icmp_set(found->type, static_cast<std::uint32_t>(found->code), static_cast<std::uint32_t>(found->code));
}

} // namespace

std::optional<std::uint32_t> number_of(std::string_view text, std::uint32_t max)
{
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    if (hex) text.remove_prefix(2);
    std::uint32_t value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
    if (failed != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
    return value;
}

std::optional<std::uint32_t> protocol_of(std::string_view text)
{
    if (const auto number = number_of(text, kMaxProtocol)) return number;
    const auto name = lower(text);
    if (name == "ipv6-icmp") return 58;
    if (name == "ipencap") return 4;
    const auto number = protocol_number(name);
    return number ? std::optional<std::uint32_t>{*number} : std::nullopt;
}

std::optional<NumberSet> icmp_of(std::string_view text, Family family)
{
    const auto slash = text.find('/');
    if (const auto type = number_of(text.substr(0, slash), 255)) {
        if (family == Family::v4 && *type == kAnyType) return NumberSet::all(kMaxIcmp);
        if (slash == std::string_view::npos) return icmp_set(*type, 0, 255);
        const auto code = number_of(text.substr(slash + 1), 255);
        return code ? std::optional{icmp_set(*type, *code, *code)} : std::nullopt;
    }
    return family == Family::v4 ? icmp_word(kIcmp, lower(text)) : icmp_word(kIcmpv6, lower(text));
}

std::optional<std::uint32_t> dscp_of(std::string_view text)
{
    if (const auto number = number_of(text, kMaxDscp)) return number;
    const auto name = lower(text);
    if (name == "be") return 0;
    const auto number = dscp_number(name);
    return number ? std::optional<std::uint32_t>{*number} : std::nullopt;
}

std::optional<std::uint8_t> tcp_flags_of(std::string_view text)
{
    const auto words = lower(text);
    if (words == "none") return 0;
    if (words == "all") return 0x3f;
    std::uint8_t flags = 0;
    for (const auto word : elements_of(words)) {
        const auto flag = tcp_flag(word);
        if (!flag) return std::nullopt;
        flags |= *flag;
    }
    return flags;
}

} // namespace evnf::fw::iptables
