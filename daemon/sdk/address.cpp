// SPDX-License-Identifier: MIT
#include <evnf/address.hpp>

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <charconv>
#include <cstring>

namespace evnf {

namespace asio_ip = boost::asio::ip;

std::optional<Address> Address::parse(std::string_view text)
{
    char terminated[INET6_ADDRSTRLEN] = {};
    if (text.size() >= sizeof terminated || text.find('\0') != text.npos) return std::nullopt;
    text.copy(terminated, text.size());
    Address address;
    address.raw.bytes[10] = address.raw.bytes[11] = 0xff;
    if (inet_pton(AF_INET, terminated, &address.raw.words[3]) == 1 || inet_pton(AF_INET6, terminated, address.raw.bytes) == 1) return address;
    return std::nullopt;
}

bool Address::is_v4() const noexcept
{
    static constexpr unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::memcmp(raw.bytes, mapped, sizeof mapped) == 0;
}

std::string Address::text() const
{
    asio_ip::address_v6::bytes_type bytes;
    std::memcpy(bytes.data(), raw.bytes, bytes.size());
    const asio_ip::address_v6 v6{bytes};
    return is_v4() ? asio_ip::make_address_v4(asio_ip::v4_mapped, v6).to_string() : v6.to_string();
}

bool Address::operator==(const Address& other) const noexcept
{
    return std::memcmp(raw.bytes, other.raw.bytes, sizeof raw.bytes) == 0;
}

std::strong_ordering Address::operator<=>(const Address& other) const noexcept
{
    return std::memcmp(raw.bytes, other.raw.bytes, sizeof raw.bytes) <=> 0;
}

std::optional<Endpoint> Endpoint::parse(std::string_view text)
{
    const auto colon = text.rfind(':');
    if (colon == text.npos) return std::nullopt;
    auto host = text.substr(0, colon);
    const auto port = text.substr(colon + 1);
    const bool brackets = host.starts_with('[') && host.ends_with(']');
    if (brackets) host = host.substr(1, host.size() - 2);
    const auto address = Address::parse(host);
    if (!address || brackets == (host.find(':') == host.npos)) return std::nullopt;
    Endpoint endpoint{*address};
    const auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
    if (failed != std::errc{} || end != port.data() + port.size() || endpoint.port == 0) return std::nullopt;
    return endpoint;
}

std::string Endpoint::text() const
{
    return address.is_v4() ? fmt::format("{}:{}", address.text(), port) : fmt::format("[{}]:{}", address.text(), port);
}

namespace {

Address masked(Address address, unsigned length)
{
    auto* const bytes = address.raw.bytes;
    if (length % 8) bytes[length / 8] &= static_cast<unsigned char>(0xff00 >> length % 8);
    std::fill(bytes + (length + 7) / 8, bytes + sizeof address.raw.bytes, 0);
    return address;
}

} // namespace

std::optional<Prefix> Prefix::parse(std::string_view text, std::string& error)
{
    const auto slash = text.find('/');
    const auto address = Address::parse(text.substr(0, slash));
    if (!address) {
        error = "is no IPv4 or IPv6 address or prefix";
        return std::nullopt;
    }
    const unsigned bits = address->is_v4() ? 32 : 128;
    unsigned length = bits;
    if (slash != std::string_view::npos) {
        const auto digits = text.substr(slash + 1);
        const auto [end, failed] = std::from_chars(digits.begin(), digits.end(), length);
        if (failed != std::errc{} || end != digits.end() || length > bits) {
            error = "has no prefix length from 0 to " + std::to_string(bits) + " after the slash";
            return std::nullopt;
        }
    }
    Prefix prefix{*address, static_cast<std::uint8_t>(128 - bits + length)};
    const Prefix network{masked(*address, prefix.length), prefix.length};
    if (network != prefix) {
        error = "has host bits set; the network is " + network.text();
        return std::nullopt;
    }
    return prefix;
}

bool Prefix::contains(const Address& other) const noexcept
{
    return masked(other, length) == address;
}

bool Prefix::contains(const Prefix& other) const noexcept
{
    return other.length >= length && contains(other.address);
}

std::string Prefix::text() const
{
    const unsigned bits = is_v4() ? length - 96u : length;
    return address.text() + "/" + std::to_string(bits);
}

} // namespace evnf
