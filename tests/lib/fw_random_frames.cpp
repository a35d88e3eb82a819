// SPDX-License-Identifier: MIT
#include "fw_random_frames.hpp"

#include <algorithm>

#include "fw_networks.hpp"
#include "fw_small_world.hpp"

namespace evnf::test {

namespace {

const std::vector<std::string> kV4{"10.1.0.0", "10.1.0.2",   "10.1.0.3", "10.1.0.4",
                                   "10.2.0.2", "10.2.200.1", "10.3.1.1", "192.0.2.1"};
const std::vector<std::string> kV6{"2001:db8:1::2", "2001:db8:1::1", "2001:db8:2::7",
                                   "2001:db8:3::7", "2001:db9::1",   "fd00::1"};
const std::vector<unsigned> kTos{0, 3, 0x04, 0x28, 0x2b, 0xb8, 0xb9, 0xbc, 0xff};

/// A frame before it is built, each field by itself.
struct Draft {
    std::string src, dst; ///< 4 or 16 bytes
    unsigned protocol = kTcp, sport = 1234, dport = 80, flags = ACK, icmp_type = 8, icmp_code = 0, tos = 0;
    std::vector<unsigned> vlans; ///< two at most
    std::string mac = kMacs.front();
    FwFragment fragment = FwFragment::no; ///< no, first or later
};

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
    if (fragment) layers.push_back(Fragment{.offset = offset, .more = more, .next = next});
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
            return Tcp{.sport = sport, .dport = dport, .flags = static_cast<std::uint8_t>(draft.flags)};
        case kUdp:
            return Udp{.sport = sport, .dport = dport};
        case kSctp:
            return Sctp{.sport = sport, .dport = dport};
        case kIcmp:
            return Icmp{.type = type, .code = code};
        case kIcmpv6:
            return Icmpv6{.type = type, .code = code};
        default:
            return Payload{std::string(24, '\0')};
    }
}

Frame build(Dice& dice, const Draft& draft)
{
    std::vector<Layer> layers{Eth{.src = draft.mac}};
    for (const auto id : draft.vlans) layers.push_back(Vlan{.id = static_cast<std::uint16_t>(id)});
    add_ip_header(dice, layers, draft);
    layers.push_back(l4_of(draft));
    layers.push_back(Payload{std::string(16, 'x')});
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
            .flags = dice.below(64),
            .icmp_type = dice.one_of(kIcmpTypes),
            .icmp_code = dice.one_of(kIcmpCodes),
            .tos = dice.one_of(kTos),
            .vlans = random_tags(dice),
            .mac = dice.one_of(kMacs),
            .fragment = random_fragment(dice, 15)};
}

/// Frames at the edge of one rule.
class NearFrame {
public:
    NearFrame(Dice& dice, const std::vector<FwModelRule>& rules, const FwModelRule& rule)
        : dice_{dice}, rules_{rules}, rule_{rule}
    {
        meet();
    }

    /// Changes a field that the rule asks for, or one of those that matter to all rules.
    void miss()
    {
        std::vector<void (NearFrame::*)()> changes{&NearFrame::change_protocol, &NearFrame::change_fragment,
                                                   &NearFrame::spoof};
        const auto add = [&](bool there, void (NearFrame::*change)()) {
            if (there) changes.insert(changes.end(), 2, change);
        };
        add(!rule_.src.networks.empty(), &NearFrame::change_src);
        add(!rule_.dst.networks.empty(), &NearFrame::change_dst);
        add(!rule_.sport.empty(), &NearFrame::change_sport);
        add(!rule_.dport.empty(), &NearFrame::change_dport);
        add(rule_.flags_set || rule_.flags_clear, &NearFrame::change_flags);
        add(!rule_.icmp_types.empty(), &NearFrame::change_icmp);
        add(!rule_.vlans.empty() || !rule_.inner_vlans.empty(), &NearFrame::change_tags);
        add(!rule_.src_macs.empty(), &NearFrame::change_mac);
        add(!rule_.dscps.empty(), &NearFrame::change_dscp);
        (this->*dice_.one_of(changes))();
    }

    void spoof()
    {
        const auto everything = network(draft_.src.size() == 4 ? "0.0.0.0/0" : "::/0");
        draft_.src = network_inside(dice_, everything, bits_of(draft_.src)).bytes;
    }

    const Draft& draft() const { return draft_; }

private:
    void meet()
    {
        draft_ = random_draft(dice_);
        const bool v6 = is_v6();
        draft_.src = address(rule_.src, &FwModelRule::src, v6);
        draft_.dst = address(rule_.dst, &FwModelRule::dst, v6);
        meet_l4(v6);
        draft_.vlans = dice_.chance(90) ? std::vector<unsigned>{} : random_tags(dice_);
        if (!rule_.vlans.empty()) draft_.vlans = {dice_.one_of(rule_.vlans)};
        if (!rule_.inner_vlans.empty()) {
            draft_.vlans.resize(1, dice_.one_of(kVlans));
            draft_.vlans.push_back(dice_.one_of(rule_.inner_vlans));
        }
        if (!rule_.src_macs.empty()) draft_.mac = dice_.one_of(rule_.src_macs);
        if (!rule_.dscps.empty()) draft_.tos = dice_.one_of(rule_.dscps) * 4 + dice_.below(4);
        draft_.fragment = random_fragment(dice_, rule_.fragment == FwFragment::yes ? 100 : 4);
        if (rule_.fragment != FwFragment::yes && rule_.fragment != FwFragment::any)
            draft_.fragment = rule_.fragment;
    }

    bool is_v6()
    {
        for (const auto* side : {&rule_.src, &rule_.dst})
            if (!side->networks.empty() && !side->negated)
                return dice_.one_of(side->networks).bytes.size() == 16;
        if (!rule_.icmp_types.empty()) return dice_.one_of(rule_.protocols) == kIcmpv6;
        return dice_.chance(40);
    }

    /// One that meets the condition; where there is none, one that some other rule asks for.
    std::string address(const FwAddresses& wanted, FwAddresses FwModelRule::*side, bool v6)
    {
        const std::size_t size = v6 ? 16 : 4;
        for (int attempt = 0; attempt < 30; ++attempt) {
            const auto& other = rules_[dice_.below(static_cast<unsigned>(rules_.size()))].*side;
            const auto& networks =
                wanted.networks.empty() || wanted.negated ? other.networks : wanted.networks;
            if (networks.empty()) continue;
            auto address = address_inside(dice_, dice_.one_of(networks));
            if (address.size() == size && fw_address_fits(wanted, address)) return address;
        }
        return address_inside(dice_, network(v6 ? "2001:db8::/32" : "10.0.0.0/8"));
    }

    void meet_l4(bool v6)
    {
        const bool ports = !rule_.sport.empty() || !rule_.dport.empty();
        if (!rule_.protocols.empty()) draft_.protocol = dice_.one_of(rule_.protocols);
        if (rule_.protocols.empty() && ports) draft_.protocol = dice_.one_of<unsigned>({kTcp, kUdp, kSctp});
        if (!rule_.icmp_types.empty()) {
            const auto wanted = dice_.one_of(rule_.icmp_types);
            draft_.protocol = v6 ? kIcmpv6 : kIcmp;
            draft_.icmp_type = wanted.type;
            draft_.icmp_code = wanted.code.value_or(draft_.icmp_code);
        }
        if (!rule_.sport.empty()) draft_.sport = port_inside(dice_.one_of(rule_.sport));
        if (!rule_.dport.empty()) draft_.dport = port_inside(dice_.one_of(rule_.dport));
        draft_.flags = (draft_.flags | rule_.flags_set) & ~rule_.flags_clear;
    }

    unsigned port_inside(std::pair<unsigned, unsigned> range)
    {
        const unsigned where = dice_.below(4);
        if (where == 0) return range.first;
        return where == 1 ? range.second : range.first + dice_.below(range.second - range.first + 1);
    }

    /// The neighbour of the range on one side, around the corner where there is none.
    unsigned port_outside(std::pair<unsigned, unsigned> range)
    {
        return (dice_.chance(50) ? range.first + 65535 : range.second + 1) % 65536;
    }

    /// The last bit of a network that the address is in, or any.
    void change_address(std::string& address, const FwAddresses& wanted)
    {
        std::vector<unsigned> lengths;
        for (const auto& network : wanted.networks)
            if (network.length > 0 && fw_address_fits({{network}, false, {}}, address)) lengths.push_back(network.length);
        const bool at_edge = !lengths.empty() && dice_.chance(70);
        flip(address, at_edge ? dice_.one_of(lengths) - 1 : dice_.below(bits_of(address)));
    }

    void change_src() { change_address(draft_.src, rule_.src); }
    void change_dst() { change_address(draft_.dst, rule_.dst); }
    void change_sport() { draft_.sport = port_outside(dice_.one_of(rule_.sport)); }
    void change_dport() { draft_.dport = port_outside(dice_.one_of(rule_.dport)); }
    void change_protocol() { draft_.protocol = dice_.one_of(kProtocols); }
    void change_flags() { draft_.flags ^= dice_.one_of(kFlags); }
    void change_mac() { draft_.mac = dice_.one_of(kMacs); }
    void change_dscp() { draft_.tos ^= 4u << dice_.below(6); }
    void change_fragment()
    {
        draft_.fragment = dice_.one_of<FwFragment>({FwFragment::no, FwFragment::first, FwFragment::later});
    }
    void change_icmp()
    {
        auto& field = dice_.chance(50) ? draft_.icmp_type : draft_.icmp_code;
        field = dice_.below(256);
    }
    void change_tags()
    {
        auto& tags = draft_.vlans;
        switch (dice_.below(4)) {
            case 0:
                tags.pop_back();
                break;
            case 1:
                tags.insert(tags.begin(), dice_.one_of(kVlans));
                if (tags.size() > 2) tags.pop_back();
                break;
            case 2:
                std::reverse(tags.begin(), tags.end());
                break;
            default:
                tags[dice_.below(static_cast<unsigned>(tags.size()))] = dice_.below(4095);
        }
    }

    Dice& dice_;
    const std::vector<FwModelRule>& rules_;
    const FwModelRule& rule_;
    Draft draft_;
};

} // namespace

Frame random_fw_frame(std::mt19937& random)
{
    Dice dice{random};
    return build(dice, random_draft(dice));
}

Frame fw_frame_near(std::mt19937& random, const std::vector<FwModelRule>& rules)
{
    Dice dice{random};
    NearFrame near{dice, rules, rules[dice.below(static_cast<unsigned>(rules.size()))]};
    if (dice.chance(50))
        near.miss();
    else if (dice.chance(10))
        near.spoof();
    return build(dice, near.draft());
}

} // namespace evnf::test
