// SPDX-License-Identifier: MIT
/// The words that iptables has for numbers, where they are others than those of our rules.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "conditions.hpp"

namespace evnf::fw::iptables {

/// "8080", "0x2e": a number up to `max`.
std::optional<std::uint32_t> number_of(std::string_view text, std::uint32_t max);

/// "tcp", "ipv6-icmp", "47".
std::optional<std::uint32_t> protocol_of(std::string_view text);

/// "echo-request", "3", "3/4", "any": what the family calls so, as Conditions::icmp has it.
std::optional<NumberSet> icmp_of(std::string_view text, Family family);

/// "EF", "AF41", "BE", "0x2e".
std::optional<std::uint32_t> dscp_of(std::string_view text);

/// Bits of "SYN,ACK", "ALL", "NONE".
std::optional<std::uint8_t> tcp_flags_of(std::string_view text);

} // namespace evnf::fw::iptables
