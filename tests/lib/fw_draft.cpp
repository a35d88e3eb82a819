// SPDX-License-Identifier: MIT
#include "fw_draft.hpp"

#include "fw_networks.hpp"

namespace evnf::test {

namespace {

const std::vector<std::string> kV4{"10.1.0.0", "10.1.0.2",   "10.1.0.3", "10.1.0.4",
                                   "10.2.0.2", "10.2.200.1", "10.3.1.1", "192.0.2.1"};
const std::vector<std::string> kV6{"2001:db8:1::2", "2001:db8:1::1", "2001:db8:2::7",
                                   "2001:db8:3::7", "2001:db9::1",   "fd00::1"};
const std::vector<unsigned> kTos{0, 3, 0x04, 0x28, 0x2b, 0xb8, 0xb9, 0xbc, 0xff};
const std::vector<unsigned> kUsualFlags{SYN, SYN | ACK, ACK, ACK | PSH, ACK | FIN, RST, RST | ACK};
constexpr unsigned kSequence = 3'000'000'000, kFar = 1'000'000'000;

void add_ip_header(Dice& dice, std::vector<Layer>& layers, const Draft& draft)
{
    const auto next = static_cast<std::uint8_t>(draft.protocol), tos = static_cast<std::uint8_t>(draft.tos);
    const bool first = draft.fragment == FwFragment::first, later = draft.fragment == FwFragment::later;
    const bool more = first || (later && dice.chance(50));
    const auto offset = static_cast<std::uint16_t>(later ? 2 + dice.below(100) : 0);
    const auto src = address_text(draft.src), dst = address_text(draft.dst);
    if (draft.src.size() == 4) {
        layers.push_back(Ipv4{.src = src,
                              .dst = dst,
                              .tos = tos,
                              .id = static_cast<std::uint16_t>(draft.fragment_id),
                              .dont_fragment = dice.chance(20),
                              .more_fragments = more,
                              .fragment_offset = offset,
                              .options = dice.chance(20) ? std::string(4, '\1') : "",
                              .protocol = next});
        return;
    }
    const bool fragment = first || later || dice.chance(3); // a header of no fragment is one, too (RFC 6946)
    const bool plain = !fragment && dice.chance(50);
    layers.push_back(Ipv6{
        .src = src, .dst = dst, .traffic_class = tos, .next = plain ? std::optional{next} : std::nullopt});
    if (plain) return;
    if (dice.chance(20)) layers.push_back(HopByHop{});
    if (fragment)
        layers.push_back(Fragment{.offset = offset, .more = more, .id = draft.fragment_id, .next = next});
    if (!fragment) layers.push_back(DestOpts{.next = next});
}

/// A later fragment has one too: bytes that would fit a rule, were they a header.
Layer l4_of(const Draft& draft)
{
    const auto sport = static_cast<std::uint16_t>(draft.sport);
    const auto dport = static_cast<std::uint16_t>(draft.dport);
    const auto type = static_cast<std::uint8_t>(draft.icmp_type);
    const auto code = static_cast<std::uint8_t>(draft.icmp_code);
    switch (draft.protocol) {
        case kTcp:
            return Tcp{.sport = sport,
                       .dport = dport,
                       .seq = draft.far ? kFar : kSequence,
                       .ack = kSequence,
                       .flags = static_cast<std::uint8_t>(draft.flags)};
        case kUdp:
            return Udp{.sport = sport, .dport = dport};
        case kSctp:
            return Sctp{.sport = sport, .dport = dport};
        case kIcmp:
            return Icmp{.type = type, .code = code, .rest = draft.icmp_id << 16};
        case kIcmpv6:
            return Icmpv6{.type = type, .code = code, .rest = draft.icmp_id << 16};
        default:
            return Payload{std::string(24, '\0')};
    }
}

} // namespace

Frame build(Dice& dice, const Draft& draft)
{
    std::vector<Layer> layers{Eth{.src = draft.mac}};
    for (const auto id : draft.vlans) layers.push_back(Vlan{.id = static_cast<std::uint16_t>(id)});
    add_ip_header(dice, layers, draft);
    layers.push_back(l4_of(draft));
    layers.push_back(Payload{draft.payload});
    return build(layers);
}

std::vector<unsigned> random_tags(Dice& dice)
{
    std::vector<unsigned> tags;
    while (tags.size() < 2 && dice.chance(40)) tags.push_back(dice.one_of(kVlans));
    return tags;
}

FwFragment random_fragment(Dice& dice, unsigned percent)
{
    if (!dice.chance(percent)) return FwFragment::no;
    return dice.chance(60) ? FwFragment::later : FwFragment::first;
}

Draft random_draft(Dice& dice)
{
    const auto& addresses = dice.chance(50) ? kV6 : kV4;
    return {.src = network(dice.one_of(addresses)).bytes,
            .dst = network(dice.one_of(addresses)).bytes,
            .protocol = dice.one_of(kProtocols),
            .sport = dice.one_of(kPorts),
            .dport = dice.one_of(kPorts),
            .flags = dice.chance(50) ? dice.one_of(kUsualFlags) : dice.below(256),
            .icmp_type = dice.one_of(kIcmpTypes),
            .icmp_code = dice.one_of(kIcmpCodes),
            .icmp_id = dice.below(65536),
            .tos = dice.one_of(kTos),
            .vlans = random_tags(dice),
            .mac = dice.one_of(kMacs),
            .fragment = random_fragment(dice, 15),
            .fragment_id = dice.below(65536)};
}

} // namespace evnf::test
