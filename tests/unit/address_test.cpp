// SPDX-License-Identifier: MIT
#include <evnf/address.hpp>

#include <random>

#include "catch.hpp"

using evnf::Address;
using evnf::Prefix;

namespace {

Prefix prefix(const char* text)
{
    std::string error;
    const auto parsed = Prefix::parse(text, error);
    INFO(text << " " << error);
    REQUIRE(parsed);
    return *parsed;
}

std::string why_not(const char* text)
{
    std::string error;
    INFO(text);
    CHECK_FALSE(Prefix::parse(text, error));
    return error;
}

} // namespace

TEST_CASE("address: IPv4 is kept mapped into IPv6")
{
    const auto address = Address::parse("10.2.0.2");
    REQUIRE(address);
    CHECK(address->is_v4());
    CHECK(address->raw.bytes[10] == 0xff);
    CHECK(address->raw.bytes[15] == 2);
    CHECK(address->raw.words[0] == 0);
    CHECK(Address::parse("::ffff:10.2.0.2") == address);
}

TEST_CASE("address: text comes back in its shortest form")
{
    for (const char* text :
         {"10.2.0.2", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1", "fe80::1"}) {
        INFO(text);
        REQUIRE(Address::parse(text));
        CHECK(Address::parse(text)->text() == text);
    }
    CHECK(Address::parse("2001:0DB8:0:0:0:0:0:1")->text() == "2001:db8::1");
}

TEST_CASE("address: what is no address is refused")
{
    for (const char* text : {"", " ", "10.2.0", "10.2.0.256", "10.2.0.2 ", "10.2.0.2/32", "2001:db8:::1",
                             "fe80::1%eth0", "localhost"}) {
        INFO(text);
        CHECK_FALSE(Address::parse(text));
    }
    CHECK_FALSE(Address::parse({"10.2.0.2\0x", 10}));
}

TEST_CASE("address: :: and 0.0.0.0 differ")
{
    CHECK(Address::parse("::") != Address::parse("0.0.0.0"));
    CHECK_FALSE(Address::parse("::")->is_v4());
}

TEST_CASE("prefix: lengths count in the mapped form, text in the written one")
{
    CHECK(prefix("10.0.0.0/8").length == 104);
    CHECK(prefix("10.0.0.0/8").text() == "10.0.0.0/8");
    CHECK(prefix("0.0.0.0/0").length == 96);
    CHECK(prefix("0.0.0.0/0").text() == "0.0.0.0/0");
    CHECK(prefix("::/0").length == 0);
    CHECK(prefix("::/0").text() == "::/0");
    CHECK(prefix("10.1.2.3") == prefix("10.1.2.3/32"));
    CHECK(prefix("2001:db8::1").length == 128);
}

TEST_CASE("prefix: a refusal says why")
{
    CHECK(why_not("10.0.0.1/8").find("10.0.0.0/8") != std::string::npos);
    CHECK(why_not("2001:db8::1/32").find("2001:db8::/32") != std::string::npos);
    CHECK(why_not("10.0.0.0/33").find("0 to 32") != std::string::npos);
    CHECK(why_not("2001:db8::/129").find("0 to 128") != std::string::npos);
    for (const char* text : {"10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8 ", "10.0.0.0/8/8", "/8", "web/8"})
        CHECK_FALSE(why_not(text).empty());
}

TEST_CASE("prefix: contains its own addresses and no neighbour's")
{
    const auto network = prefix("10.1.0.0/23");
    CHECK(network.contains(*Address::parse("10.1.0.0")));
    CHECK(network.contains(*Address::parse("10.1.1.255")));
    CHECK_FALSE(network.contains(*Address::parse("10.1.2.0")));
    CHECK_FALSE(network.contains(*Address::parse("10.0.255.255")));
    CHECK_FALSE(network.contains(*Address::parse("2001:db8::1")));
}

TEST_CASE("prefix: 0.0.0.0/0 is all of IPv4 and nothing of IPv6")
{
    CHECK(prefix("0.0.0.0/0").contains(*Address::parse("203.0.113.9")));
    CHECK_FALSE(prefix("0.0.0.0/0").contains(*Address::parse("2001:db8::1")));
    CHECK_FALSE(prefix("0.0.0.0/0").contains(*Address::parse("::")));
}

TEST_CASE("prefix: containment of prefixes goes one way")
{
    CHECK(prefix("10.0.0.0/8").contains(prefix("10.1.0.0/16")));
    CHECK(prefix("10.0.0.0/8").contains(prefix("10.0.0.0/8")));
    CHECK_FALSE(prefix("10.1.0.0/16").contains(prefix("10.0.0.0/8")));
    CHECK_FALSE(prefix("10.0.0.0/8").contains(prefix("11.0.0.0/16")));
}

TEST_CASE("prefix: contains agrees with arithmetic on random IPv4 addresses")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random{seed};
    const auto dotted = [](std::uint32_t v) {
        return std::to_string(v >> 24) + "." + std::to_string(v >> 16 & 255) + "." +
               std::to_string(v >> 8 & 255) + "." + std::to_string(v & 255);
    };
    for (int i = 0; i < 2000; ++i) {
        const unsigned length = random() % 33;
        const std::uint32_t mask = length ? ~std::uint32_t{0} << (32 - length) : 0;
        const auto network = static_cast<std::uint32_t>(random()) & mask;
        // Differs from the network in one bit at most: near misses are what matters.
        const std::uint32_t address =
            (network | (static_cast<std::uint32_t>(random()) & ~mask)) ^ (1u << random() % 32);
        const std::string text = dotted(network) + "/" + std::to_string(length);
        INFO(text << " " << dotted(address));
        CHECK(prefix(text.c_str()).contains(*Address::parse(dotted(address))) ==
              ((address & mask) == network));
    }
}

TEST_CASE("endpoint: an address and a port, IPv6 in brackets")
{
    CHECK(evnf::Endpoint::parse("10.2.0.2:80")->text() == "10.2.0.2:80");
    CHECK(evnf::Endpoint::parse("[2001:db8::1]:65535")->text() == "[2001:db8::1]:65535");
    for (const auto* bad : {"", "10.2.0.2", ":80", "10.2.0.2:", "10.2.0.2:0", "10.2.0.2:65536", "10.2.0.2:80x", "10.2.0.2:-1",
                            "[10.2.0.2]:80", "2001:db8::1:80", "[2001:db8::1]", "[2001:db8::1:80", "localhost:80", "1.2.3.4: 80"})
        CHECK_FALSE(evnf::Endpoint::parse(bad));
}
