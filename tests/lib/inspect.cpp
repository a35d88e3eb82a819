// SPDX-License-Identifier: MIT
/// Looking at frames that came out of the chain.
#include <arpa/inet.h>

#include <array>

#include "checksum.hpp"
#include "packet.hpp"
#include "reference_parser.hpp"

namespace evnf::test {

namespace {

std::string bytes_of(const Frame& frame, std::size_t begin, std::size_t end)
{
    const auto* bytes = reinterpret_cast<const char*>(frame.data());
    return {bytes + begin, bytes + end};
}

std::string pseudo_header(const Parsed& parsed, std::size_t length)
{
    const auto low = static_cast<char>(length % 256), high = static_cast<char>(length / 256 % 256),
               protocol = static_cast<char>(parsed.protocol);
    if (parsed.ip_version == 4) return parsed.src + parsed.dst + '\0' + protocol + high + low;
    return parsed.src + parsed.dst + '\0' + '\0' + high + low + '\0' + '\0' + '\0' + protocol;
}

bool l4_checksum_ok(const Frame& frame, const Parsed& parsed)
{
    const std::string l4 = bytes_of(frame, parsed.l4_offset, parsed.end);
    const bool covers_addresses = parsed.protocol == 6 || parsed.protocol == 17 || parsed.protocol == 58;
    switch (parsed.protocol) {
        case 17:
            if (l4[6] == 0 && l4[7] == 0) return parsed.ip_version == 4;
            [[fallthrough]];
        case 1:
        case 6:
        case 58:
            return internet_checksum((covers_addresses ? pseudo_header(parsed, l4.size()) : "") + l4) == 0;
        case 132: {
            std::string zeroed = l4;
            zeroed.replace(8, 4, 4, '\0');
            const std::uint32_t crc = crc32c(zeroed);
            for (std::size_t i = 0; i < 4; ++i)
                if (static_cast<unsigned char>(l4[8 + i]) != (crc >> 8 * i & 0xff)) return false;
            return true;
        }
        default:
            return true;
    }
}

std::string address_text(const std::string& bytes)
{
    std::array<char, INET6_ADDRSTRLEN> text{};
    inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text.data(), text.size());
    return text.data();
}

std::string flags_text(unsigned flags)
{
    std::string text;
    for (int bit = 0; bit < 6; ++bit)
        if (flags >> bit & 1) text += "FSRPAU"[bit];
    return text;
}

std::string protocol_text(const Parsed& parsed)
{
    switch (parsed.protocol) {
        case 6:
            return "tcp " + flags_text(parsed.tcp_flags);
        case 17:
            return "udp";
        case 132:
            return "sctp";
        case 1:
        case 58:
            return "icmp " + std::to_string(parsed.icmp_type) + "/" + std::to_string(parsed.icmp_code);
        default:
            return "protocol " + std::to_string(parsed.protocol);
    }
}

} // namespace

bool checksums_ok(const Frame& frame)
{
    const Parsed parsed = reference_parse(frame);
    if (!parsed.problem.empty()) return false;
    if (parsed.ip_version == 0) return true;
    if (parsed.ip_version == 4 && internet_checksum(bytes_of(frame, parsed.l3_offset, parsed.l4_offset)) != 0)
        return false;
    return parsed.first_fragment || parsed.later_fragment || l4_checksum_ok(frame, parsed);
}

std::string describe(const Frame& frame)
{
    const Parsed parsed = reference_parse(frame);
    const std::string size = ", " + std::to_string(frame.size()) + " bytes";
    if (!parsed.problem.empty()) return parsed.problem + size;
    std::string line;
    for (const unsigned id : parsed.vlans) line += "vlan " + std::to_string(id) + " ";
    if (parsed.ip_version == 0) return line + "not IP" + size;
    const auto end = [](const std::string& address, unsigned port) {
        return address_text(address) + (port ? ":" + std::to_string(port) : "");
    };
    line +=
        end(parsed.src, parsed.sport) + " > " + end(parsed.dst, parsed.dport) + " " + protocol_text(parsed);
    if (parsed.first_fragment) line += " first fragment";
    if (parsed.later_fragment) line += " later fragment";
    return line + " ttl " + std::to_string(parsed.ttl) + size;
}

} // namespace evnf::test
