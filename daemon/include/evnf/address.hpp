// SPDX-License-Identifier: MIT
/// IP addresses and prefixes in the fast path's form: IPv4 is mapped into IPv6.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <evnf/packet_shared.h>

namespace evnf {

/// Ordered and comparable evnf_address.
struct Address {
    evnf_address raw{};

    /// Reads "10.2.0.2" or "2001:db8::1"; nothing where the text is no address.
    static std::optional<Address> parse(std::string_view text);
    static Address from(const evnf_address& raw) { return Address{raw}; }

    bool is_v4() const noexcept;
    std::string text() const;

    bool operator==(const Address& other) const noexcept;
    std::strong_ordering operator<=>(const Address& other) const noexcept;
};

/// Where a service listens: an address and a port of TCP or UDP.
struct Endpoint {
    Address address;
    std::uint16_t port = 0; ///< host order, never 0 where parse() made it

    /// Reads "10.2.0.2:80" or "[2001:db8::1]:80"; nothing where the text is neither.
    static std::optional<Endpoint> parse(std::string_view text);
    std::string text() const;

    bool operator==(const Endpoint&) const = default;
};

/// A network: the address with host bits clear, and a length counted in the mapped form
/// (10.0.0.0/8 has length 104).
struct Prefix {
    Address address;
    std::uint8_t length = 0;

    /// Reads "10.0.0.0/8", "2001:db8::/32" or an address alone. Nothing where the text is no
    /// prefix; `error` then says why ("host bits set", …).
    static std::optional<Prefix> parse(std::string_view text, std::string& error);

    bool is_v4() const noexcept { return address.is_v4() && length >= 96; }
    bool contains(const Address& address) const noexcept;
    /// True where every address of `other` is in this prefix.
    bool contains(const Prefix& other) const noexcept;
    std::string text() const;

    bool operator==(const Prefix&) const = default;
    std::strong_ordering operator<=>(const Prefix&) const = default;
};

} // namespace evnf
