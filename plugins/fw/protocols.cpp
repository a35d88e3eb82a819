// SPDX-License-Identifier: MIT
#include "protocols.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <utility>

namespace evnf::fw {

namespace {

using Named = std::pair<std::string_view, std::uint8_t>;

constexpr std::array kProtocols{
    Named{"icmp", IPPROTO_ICMP},
    Named{"igmp", IPPROTO_IGMP},
    Named{"ipip", IPPROTO_IPIP},
    Named{"tcp", IPPROTO_TCP},
    Named{"udp", IPPROTO_UDP},
    Named{"ipv6", IPPROTO_IPV6},
    Named{"gre", IPPROTO_GRE},
    Named{"esp", IPPROTO_ESP},
    Named{"ah", IPPROTO_AH},
    Named{"ospf", 89},
    Named{"icmpv6", IPPROTO_ICMPV6},
    Named{"pim", IPPROTO_PIM},
    Named{"vrrp", 112},
    Named{"l2tp", 115},
    Named{"sctp", IPPROTO_SCTP},
    Named{"udplite", IPPROTO_UDPLITE},
};

constexpr std::array kTcpFlags{
    Named{"fin", 0x01}, Named{"syn", 0x02}, Named{"rst", 0x04}, Named{"psh", 0x08},
    Named{"ack", 0x10}, Named{"urg", 0x20}, Named{"ece", 0x40}, Named{"cwr", 0x80},
};

constexpr std::array kIcmpNames{
    IcmpName{"echo-reply", 0, 129},
    IcmpName{"echo-request", 8, 128},
    IcmpName{"destination-unreachable", 3, 1},
    IcmpName{"packet-too-big", std::nullopt, 2},
    IcmpName{"time-exceeded", 11, 3},
    IcmpName{"parameter-problem", 12, 4},
    IcmpName{"redirect", 5, 137},
    IcmpName{"router-solicitation", 10, 133},
    IcmpName{"router-advertisement", 9, 134},
    IcmpName{"neighbour-solicitation", std::nullopt, 135},
    IcmpName{"neighbour-advertisement", std::nullopt, 136},
    IcmpName{"timestamp-request", 13, std::nullopt},
    IcmpName{"timestamp-reply", 14, std::nullopt},
};

template <class Table>
std::optional<std::uint8_t> number(const Table& table, std::string_view name)
{
    const auto found =
        std::find_if(table.begin(), table.end(), [&](const Named& e) { return e.first == name; });
    if (found == table.end()) return std::nullopt;
    return found->second;
}

template <class Table>
std::string text(const Table& table, std::uint8_t number)
{
    const auto found =
        std::find_if(table.begin(), table.end(), [&](const Named& e) { return e.second == number; });
    return found == table.end() ? std::to_string(number) : std::string{found->first};
}

} // namespace

std::optional<std::uint8_t> protocol_number(std::string_view name)
{
    return number(kProtocols, name);
}

std::string protocol_text(std::uint8_t protocol)
{
    return text(kProtocols, protocol);
}

bool has_ports(std::uint8_t protocol)
{
    return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

std::optional<std::uint8_t> IcmpName::number(std::uint8_t protocol) const
{
    return protocol == IPPROTO_ICMP ? icmp : icmpv6;
}

const IcmpName* icmp_name(std::string_view name)
{
    const auto found =
        std::find_if(kIcmpNames.begin(), kIcmpNames.end(), [&](const IcmpName& e) { return e.name == name; });
    return found == kIcmpNames.end() ? nullptr : &*found;
}

std::string icmp_type_text(std::uint8_t protocol, std::uint8_t type)
{
    const auto found = std::find_if(kIcmpNames.begin(), kIcmpNames.end(),
                                    [&](const IcmpName& e) { return e.number(protocol) == type; });
    return found == kIcmpNames.end() ? std::to_string(type) : std::string{found->name};
}

std::optional<std::uint8_t> tcp_flag(std::string_view name)
{
    return number(kTcpFlags, name);
}

std::string tcp_flags_text(std::uint8_t flags, std::string_view mark)
{
    std::string text;
    for (const auto& [name, bit] : kTcpFlags)
        if (flags & bit) text.append(text.empty() ? "" : ",").append(mark).append(name);
    return text;
}

} // namespace evnf::fw
