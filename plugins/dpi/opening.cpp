// SPDX-License-Identifier: MIT
#include "opening.hpp"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>

#include <cstring>
#include <utility>

namespace evnf::dpi {

namespace {

template <class T>
T read(std::span<const std::byte> packet, std::size_t offset)
{
    T value;
    std::memcpy(&value, packet.data() + offset, sizeof value);
    return value;
}

template <class T>
void append(std::vector<std::byte>& to, const T& value)
{
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    to.insert(to.end(), bytes, bytes + sizeof value);
}

void append_ip_header(std::vector<std::byte>& to, std::span<const std::byte> packet, bool reversed)
{
    if (std::to_integer<unsigned>(packet[0]) >> 4 == 4) {
        auto ip = read<iphdr>(packet, 0);
        if (reversed) std::swap(ip.saddr, ip.daddr);
        ip.ihl = sizeof(iphdr) / 4;
        ip.tot_len = htons(sizeof(iphdr) + sizeof(tcphdr));
        ip.frag_off = 0;
        ip.check = 0; // nDPI does not look at checksums
        append(to, ip);
    } else {
        auto ip = read<ip6_hdr>(packet, 0);
        if (reversed) std::swap(ip.ip6_src, ip.ip6_dst);
        ip.ip6_nxt = IPPROTO_TCP;
        ip.ip6_plen = htons(sizeof(tcphdr));
        append(to, ip);
    }
}

} // namespace

std::vector<std::byte> opening_packet(const dpi_opening& opening, std::span<const std::byte> packet,
                                      std::size_t l4_offset, unsigned direction)
{
    const bool v4 = !packet.empty() && std::to_integer<unsigned>(packet[0]) >> 4 == 4;
    const auto ip_header = v4 ? sizeof(iphdr) : sizeof(ip6_hdr);
    if (l4_offset < ip_header || packet.size() < l4_offset + sizeof(tcphdr)) return {};
    const bool reversed = opening.direction != direction;
    std::vector<std::byte> made;
    append_ip_header(made, packet, reversed);
    auto tcp = read<tcphdr>(packet, l4_offset);
    if (reversed) std::swap(tcp.source, tcp.dest);
    tcp.seq = opening.seq;
    tcp.ack_seq = opening.ack_seq;
    tcp.doff = sizeof(tcphdr) / 4;
    tcp.th_flags = opening.tcp_flags;
    tcp.check = 0;
    append(made, tcp);
    return made;
}

} // namespace evnf::dpi
