// SPDX-License-Identifier: MIT
#include "packet.hpp"

#include <arpa/inet.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "checksum.hpp"

namespace evnf::test {

namespace {

/// Appends numbers in network byte order.
class Writer {
public:
    Writer& u8(unsigned value)
    {
        bytes_.push_back(static_cast<char>(value));
        return *this;
    }
    Writer& u16(unsigned value) { return u8(value >> 8 & 0xff).u8(value & 0xff); }
    Writer& u32(std::uint32_t value) { return u16(value >> 16).u16(value & 0xffff); }
    Writer& text(const std::string& value)
    {
        bytes_ += value;
        return *this;
    }
    /// Zeros up to the next multiple of `unit`.
    Writer& pad(std::size_t unit)
    {
        while (bytes_.size() % unit) bytes_.push_back('\0');
        return *this;
    }
    const std::string& bytes() const { return bytes_; }

private:
    std::string bytes_;
};

std::string mac_bytes(const std::string& text)
{
    std::array<unsigned, 6> mac{};
    if (std::sscanf(text.c_str(), "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
                    &mac[5]) != 6)
        throw std::invalid_argument{text + " is no MAC address"};
    return {mac.begin(), mac.end()};
}

std::string address_bytes(int family, const std::string& text)
{
    std::array<char, 16> bytes{};
    if (inet_pton(family, text.c_str(), bytes.data()) != 1)
        throw std::invalid_argument{text + " is no address of this IP version"};
    return {bytes.data(), family == AF_INET ? 4u : 16u};
}

/// What announces a layer in the header before it.
unsigned ether_type(const Layer& layer)
{
    if (const auto* vlan = std::get_if<Vlan>(&layer)) return vlan->tpid;
    if (std::holds_alternative<Ipv4>(layer)) return 0x0800;
    if (std::holds_alternative<Ipv6>(layer)) return 0x86dd;
    return 0x88b5; // local experimental (IEEE 802)
}

struct ProtocolNumber {
    unsigned operator()(const HopByHop&) const { return 0; }
    unsigned operator()(const Icmp&) const { return 1; }
    unsigned operator()(const Ipv4&) const { return 4; }
    unsigned operator()(const Tcp&) const { return 6; }
    unsigned operator()(const Udp&) const { return 17; }
    unsigned operator()(const Ipv6&) const { return 41; }
    unsigned operator()(const Routing&) const { return 43; }
    unsigned operator()(const Fragment&) const { return 44; }
    unsigned operator()(const AuthHeader&) const { return 51; }
    unsigned operator()(const Icmpv6&) const { return 58; }
    unsigned operator()(const DestOpts&) const { return 60; }
    unsigned operator()(const Sctp&) const { return 132; }
    template <class Other>
    unsigned operator()(const Other&) const
    {
        return 253; // for experiments (RFC 3692)
    }
};

/// The addresses that the checksum of an L4 header covers: those of the nearest IP header before it.
std::string pseudo_addresses(const std::vector<Layer>& layers, std::size_t index)
{
    while (index-- > 0) {
        if (const auto* v4 = std::get_if<Ipv4>(&layers[index]))
            return address_bytes(AF_INET, v4->src) + address_bytes(AF_INET, v4->dst);
        if (const auto* v6 = std::get_if<Ipv6>(&layers[index]))
            return address_bytes(AF_INET6, v6->src) + address_bytes(AF_INET6, v6->dst);
    }
    return {};
}

std::string pseudo_header(const std::string& addresses, unsigned protocol, std::size_t length)
{
    Writer pseudo;
    pseudo.text(addresses);
    if (addresses.size() == 8) return pseudo.u8(0).u8(protocol).u16(static_cast<unsigned>(length)).bytes();
    return pseudo.u32(static_cast<std::uint32_t>(length)).u32(protocol).bytes();
}

/// One layer in front of `rest`, the bytes of all that follow it.
class Encoder {
public:
    Encoder(const std::vector<Layer>& layers, std::size_t index, const std::string& rest)
        : layers_{layers}, index_{index}, rest_{rest}
    {
    }

    std::string operator()(const Eth& eth) const
    {
        Writer out;
        out.text(mac_bytes(eth.dst)).text(mac_bytes(eth.src)).u16(eth.type.value_or(next_ether_type()));
        return out.bytes() + rest_;
    }

    std::string operator()(const Vlan& vlan) const
    {
        Writer out;
        out.u16(vlan.priority * 8192u + vlan.id).u16(vlan.type.value_or(next_ether_type()));
        return out.bytes() + rest_;
    }

    std::string operator()(const Ipv4& ip) const
    {
        const std::string options = Writer{}.text(ip.options).pad(4).bytes();
        const unsigned length = 20 + static_cast<unsigned>(options.size());
        const auto header = [&](unsigned checksum) {
            Writer out;
            out.u8(ip.version * 16u + ip.ihl.value_or(length / 4)).u8(ip.tos);
            out.u16(ip.total_length.value_or(length + size()));
            out.u16(ip.id).u16(ip.dont_fragment * 0x4000u + ip.more_fragments * 0x2000u + ip.fragment_offset);
            out.u8(ip.ttl).u8(ip.protocol.value_or(next_protocol())).u16(checksum);
            out.text(address_bytes(AF_INET, ip.src)).text(address_bytes(AF_INET, ip.dst)).text(options);
            return out.bytes();
        };
        return header(ip.checksum.value_or(internet_checksum(header(0)))) + rest_;
    }

    std::string operator()(const Ipv6& ip) const
    {
        Writer out;
        out.u32(ip.version * 0x10000000u + ip.traffic_class * 0x100000u + ip.flow_label);
        out.u16(ip.payload_length.value_or(size())).u8(ip.next.value_or(next_protocol())).u8(ip.hop_limit);
        out.text(address_bytes(AF_INET6, ip.src)).text(address_bytes(AF_INET6, ip.dst));
        return out.bytes() + rest_;
    }

    std::string operator()(const HopByHop& header) const { return options(header.options, header); }
    std::string operator()(const DestOpts& header) const { return options(header.options, header); }

    std::string operator()(const Routing& header) const
    {
        const std::string fixed = Writer{}.u8(header.type).u8(header.segments_left).bytes();
        return options(fixed + header.data, header);
    }

    std::string operator()(const Fragment& header) const
    {
        Writer out;
        out.u8(header.next.value_or(next_protocol())).u8(header.reserved);
        out.u16(header.offset * 8u + header.more).u32(header.id);
        return out.bytes() + rest_;
    }

    std::string operator()(const AuthHeader& header) const
    {
        const std::string body =
            Writer{}.u16(0).u32(header.spi).u32(header.sequence).text(header.icv).bytes();
        const auto units = static_cast<unsigned>((body.size() + 2) / 4 - 2);
        Writer out;
        out.u8(header.next.value_or(next_protocol())).u8(header.length.value_or(units)).text(body);
        return out.bytes() + rest_;
    }

    std::string operator()(const Tcp& tcp) const
    {
        const std::string options = Writer{}.text(tcp.options).pad(4).bytes();
        const auto segment = [&](unsigned checksum) {
            Writer out;
            out.u16(tcp.sport).u16(tcp.dport).u32(tcp.seq).u32(tcp.ack);
            out.u8(tcp.data_offset.value_or(5 + options.size() / 4) * 16u).u8(tcp.flags);
            out.u16(tcp.window).u16(checksum).u16(tcp.urgent).text(options);
            return out.bytes() + rest_;
        };
        return segment(tcp.checksum.value_or(sum(6, segment(0))));
    }

    std::string operator()(const Udp& udp) const
    {
        const auto datagram = [&](unsigned checksum) {
            Writer out;
            out.u16(udp.sport).u16(udp.dport).u16(udp.length.value_or(8 + size())).u16(checksum);
            return out.bytes() + rest_;
        };
        const unsigned computed = sum(17, datagram(0));
        return datagram(udp.checksum.value_or(computed ? computed : 0xffff));
    }

    std::string operator()(const Sctp& sctp) const
    {
        const auto whole = [&](std::uint32_t checksum) {
            Writer out;
            out.u16(sctp.sport).u16(sctp.dport).u32(sctp.tag).u32(checksum);
            return out.bytes() + rest_;
        };
        return whole(sctp.checksum.value_or(__builtin_bswap32(crc32c(whole(0)))));
    }

    std::string operator()(const Icmp& icmp) const
    {
        const auto message = [&](unsigned checksum) {
            return Writer{}.u8(icmp.type).u8(icmp.code).u16(checksum).u32(icmp.rest).bytes() + rest_;
        };
        return message(icmp.checksum.value_or(internet_checksum(message(0))));
    }

    std::string operator()(const Icmpv6& icmp) const
    {
        const auto message = [&](unsigned checksum) {
            return Writer{}.u8(icmp.type).u8(icmp.code).u16(checksum).u32(icmp.rest).bytes() + rest_;
        };
        return message(icmp.checksum.value_or(sum(58, message(0))));
    }

    std::string operator()(const Payload& payload) const { return payload.text + rest_; }
    std::string operator()(const Raw& raw) const
    {
        return std::string{raw.bytes.begin(), raw.bytes.end()} + rest_;
    }

private:
    unsigned size() const { return static_cast<unsigned>(rest_.size()); }
    bool is_last() const { return index_ + 1 == layers_.size(); }
    std::uint16_t next_ether_type() const
    {
        return static_cast<std::uint16_t>(is_last() ? 0x88b5 : ether_type(layers_[index_ + 1]));
    }
    std::uint8_t next_protocol() const
    {
        return static_cast<std::uint8_t>(is_last() ? 59 : std::visit(ProtocolNumber{}, layers_[index_ + 1]));
    }
    std::uint16_t sum(unsigned protocol, const std::string& bytes) const
    {
        return internet_checksum(pseudo_header(pseudo_addresses(layers_, index_), protocol, bytes.size()) +
                                 bytes);
    }
    template <class Header>
    std::string options(const std::string& body, const Header& header) const
    {
        const std::string padded = Writer{}.u16(0).text(body).pad(8).bytes().substr(2);
        const auto units = static_cast<unsigned>((padded.size() + 2) / 8 - 1);
        Writer out;
        out.u8(header.next.value_or(next_protocol())).u8(header.length.value_or(units)).text(padded);
        return out.bytes() + rest_;
    }

    const std::vector<Layer>& layers_;
    std::size_t index_;
    const std::string& rest_;
};

} // namespace

Frame build(const std::vector<Layer>& layers)
{
    std::string bytes;
    for (std::size_t i = layers.size(); i-- > 0;) bytes = std::visit(Encoder{layers, i, bytes}, layers[i]);
    Frame frame(bytes.size());
    std::memcpy(frame.data(), bytes.data(), bytes.size());
    return frame;
}

} // namespace evnf::test
