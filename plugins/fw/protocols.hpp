// SPDX-License-Identifier: MIT
/// Names of protocols, ICMP types and TCP flags.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace evnf::fw {

/// Number of the protocol, by its IANA name in small letters.
std::optional<std::uint8_t> protocol_number(std::string_view name);
/// Its name, or its number where it has none here.
std::string protocol_text(std::uint8_t protocol);

/// TCP, UDP and SCTP: those whose ports the fast path reads.
bool has_ports(std::uint8_t protocol);

/// A name of an ICMP type; each family has its own number for it, or none.
struct IcmpName {
    std::string_view name;
    std::optional<std::uint8_t> icmp, icmpv6;

    std::optional<std::uint8_t> number(std::uint8_t protocol) const;
};
/// Null: no such name.
const IcmpName* icmp_name(std::string_view name);

/// The name of the type in this protocol, or its number.
std::string icmp_type_text(std::uint8_t protocol, std::uint8_t type);

/// The flag's bit in the low byte of the flags.
std::optional<std::uint8_t> tcp_flag(std::string_view name);
/// "syn,ack", each with `mark` before it; empty where no bit is set.
std::string tcp_flags_text(std::uint8_t flags, std::string_view mark = "");

} // namespace evnf::fw
