// SPDX-License-Identifier: MIT
#include "fw_networks.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

namespace evnf::test {

unsigned bits_of(const std::string& address)
{
    return static_cast<unsigned>(address.size()) * 8;
}

FwNetwork network(const std::string& text)
{
    const auto slash = text.find('/');
    const auto address = text.substr(0, slash);
    const bool v6 = text.find(':') != std::string::npos;
    FwNetwork network{text, std::string(v6 ? 16 : 4, '\0'), v6 ? 128u : 32u};
    inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), network.bytes.data());
    if (slash != std::string::npos)
        network.length = static_cast<unsigned>(std::stoul(text.substr(slash + 1)));
    return network;
}

std::string address_text(const std::string& bytes)
{
    char text[INET6_ADDRSTRLEN] = {};
    inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof text);
    return text;
}

void flip(std::string& address, unsigned bit)
{
    address[bit / 8] = static_cast<char>(address[bit / 8] ^ (0x80 >> bit % 8));
}

FwNetwork network_inside(Dice& dice, const FwNetwork& around, unsigned length)
{
    FwNetwork inner{{}, around.bytes, length};
    for (unsigned bit = around.length; bit < length; ++bit)
        if (dice.chance(50)) flip(inner.bytes, bit);
    inner.text = fmt::format("{}/{}", address_text(inner.bytes), length);
    return inner;
}

std::string address_inside(Dice& dice, const FwNetwork& around)
{
    auto address = around.bytes;
    const unsigned where = dice.below(4);
    for (unsigned bit = around.length; bit < bits_of(address); ++bit)
        if (where == 0 || (where > 1 && dice.chance(50))) flip(address, bit);
    return address;
}

} // namespace evnf::test
