// SPDX-License-Identifier: MIT
#include "reference_parser.hpp"

namespace evnf::test {

namespace {

struct Malformed {
    std::string reason;
};

/// Reads forward through bytes up to `end`; running over it is the malformation `reason`.
class Cursor {
public:
    Cursor(const Frame& frame, std::size_t at, std::size_t end, std::string reason)
        : frame_{frame}, at_{at}, end_{end}, reason_{std::move(reason)}
    {
    }

    std::size_t at() const { return at_; }
    unsigned u8()
    {
        need(1);
        return std::to_integer<unsigned>(frame_[at_++]);
    }
    unsigned u16()
    {
        const unsigned high = u8();
        return high * 256 + u8();
    }
    unsigned u32()
    {
        const unsigned high = u16();
        return high * 65536 + u16();
    }
    std::string text(std::size_t size)
    {
        std::string bytes;
        while (bytes.size() < size) bytes.push_back(static_cast<char>(u8()));
        return bytes;
    }
    void skip(std::size_t size)
    {
        need(size);
        at_ += size;
    }

private:
    void need(std::size_t size) const
    {
        if (at_ + size > end_) throw Malformed{reason_};
    }

    const Frame& frame_;
    std::size_t at_, end_;
    std::string reason_;
};

/// RFC 791.
void parse_ipv4(const Frame& frame, Parsed& parsed)
{
    Cursor in{frame, parsed.l3_offset, frame.size(), "malformed_ipv4"};
    const unsigned first = in.u8();
    parsed.tos = in.u8();
    const std::size_t header = first % 16 * 4, total = in.u16();
    parsed.fragment_id = in.u16();
    const unsigned fragment = in.u16(), offset = fragment % 8192;
    parsed.ttl = in.u8();
    parsed.protocol = in.u8();
    in.skip(2); // checksum
    parsed.src = in.text(4);
    parsed.dst = in.text(4);
    if (first / 16 != 4 || header < 20 || total < header || parsed.l3_offset + total > frame.size())
        throw Malformed{"malformed_ipv4"};
    parsed.ip_version = 4;
    parsed.options = header > 20;
    parsed.l4_offset = parsed.l3_offset + header;
    parsed.end = parsed.l3_offset + total;
    parsed.later_fragment = offset > 0;
    parsed.first_fragment = offset == 0 && fragment / 8192 % 2 == 1;
    if (offset == 1 && parsed.protocol == 6) throw Malformed{"tiny_fragment"}; // RFC 3128
}

/// The extension headers of RFC 8200, and AH (RFC 4302), up to the header that is none of them.
void parse_extension_headers(const Frame& frame, Parsed& parsed)
{
    constexpr std::size_t kMostHeaders = 8, kLastOffset = 1024; // what the product promises to walk
    Cursor in{frame, parsed.l3_offset + 40, parsed.end, "malformed_ipv6"};
    for (std::size_t headers = 0;; ++headers) {
        const unsigned type = parsed.protocol;
        const bool hop_by_hop = type == 0, routing = type == 43, fragment = type == 44, auth = type == 51,
                   destination = type == 60;
        if (in.at() > kLastOffset) throw Malformed{"too_many_headers"};
        if (!(hop_by_hop || routing || fragment || auth || destination) || parsed.later_fragment) break;
        if (headers == kMostHeaders) throw Malformed{"too_many_headers"};
        parsed.options |= hop_by_hop;
        parsed.protocol = in.u8();
        const unsigned length = in.u8();
        if (fragment) {
            const unsigned bits = in.u16();
            parsed.fragment_id = in.u32();
            parsed.later_fragment = bits / 8 > 0;
            parsed.first_fragment |= bits / 8 == 0 && bits % 2 == 1;
            continue;
        }
        const unsigned routing_type = in.u8();
        in.skip(5);
        if (routing && routing_type == 0) throw Malformed{"routing_header_0"}; // RFC 5095
        in.skip(auth ? (length + 2) * 4 - 8 : length * 8);
    }
    parsed.l4_offset = in.at();
}

/// RFC 8200.
void parse_ipv6(const Frame& frame, Parsed& parsed)
{
    Cursor in{frame, parsed.l3_offset, frame.size(), "malformed_ipv6"};
    const unsigned first = in.u16(); // version, traffic class, 4 bits of the flow label
    in.skip(2);
    const std::size_t payload = in.u16();
    parsed.protocol = in.u8();
    parsed.ttl = in.u8();
    parsed.src = in.text(16);
    parsed.dst = in.text(16);
    if (first / 4096 != 6 || in.at() + payload > frame.size()) throw Malformed{"malformed_ipv6"};
    parsed.ip_version = 6;
    parsed.tos = first / 16 % 256;
    parsed.end = in.at() + payload;
    parse_extension_headers(frame, parsed);
}

void parse_l4(const Frame& frame, Parsed& parsed)
{
    Cursor in{frame, parsed.l4_offset, parsed.end, parsed.first_fragment ? "tiny_fragment" : "malformed_l4"};
    const Malformed malformed{parsed.first_fragment ? "tiny_fragment" : "malformed_l4"};
    const unsigned icmp = parsed.ip_version == 4 ? 1 : 58;
    parsed.payload_offset = parsed.l4_offset;
    parsed.has_l4 = !parsed.later_fragment;
    if (parsed.later_fragment) return;
    if (parsed.protocol == 6) { // RFC 9293
        parsed.sport = in.u16();
        parsed.dport = in.u16();
        parsed.tcp_seq = in.u32();
        parsed.tcp_ack = in.u32();
        const std::size_t header = in.u8() / 16 * 4;
        parsed.tcp_flags = in.u8();
        in.skip(6);
        if (header < 20) throw malformed;
        in.skip(header - 20);
    } else if (parsed.protocol == 17) { // RFC 768
        parsed.sport = in.u16();
        parsed.dport = in.u16();
        const std::size_t length = in.u16();
        in.skip(2);
        const bool whole = !parsed.first_fragment;
        if (length < 8 || (whole && parsed.l4_offset + length > parsed.end)) throw malformed;
    } else if (parsed.protocol == 132) { // RFC 9260
        parsed.sport = in.u16();
        parsed.dport = in.u16();
        in.skip(8);
    } else if (parsed.protocol == icmp) { // RFC 792, RFC 4443
        parsed.icmp_type = in.u8();
        parsed.icmp_code = in.u8();
        in.skip(2); // checksum
        parsed.icmp_id = in.u16();
        in.skip(2);
    }
    parsed.payload_offset = in.at();
}

void parse_frame(const Frame& frame, Parsed& parsed)
{
    Cursor in{frame, 0, frame.size(), "malformed_ethernet"};
    in.skip(6); // destination
    parsed.src_mac = in.text(6);
    unsigned type = in.u16();
    while (type == 0x8100 || type == 0x88a8) { // IEEE 802.1Q, 802.1ad
        if (parsed.vlans.size() == 2) throw Malformed{"too_many_vlan_tags"};
        parsed.vlans.push_back(in.u16() % 4096);
        type = in.u16();
    }
    parsed.l3_offset = in.at();
    if (type != 0x0800 && type != 0x86dd) return;
    type == 0x0800 ? parse_ipv4(frame, parsed) : parse_ipv6(frame, parsed);
    parse_l4(frame, parsed);
}

} // namespace

Parsed reference_parse(const Frame& frame)
{
    Parsed parsed;
    try {
        parse_frame(frame, parsed);
    } catch (const Malformed& malformed) {
        parsed.problem = malformed.reason;
    }
    return parsed;
}

} // namespace evnf::test
