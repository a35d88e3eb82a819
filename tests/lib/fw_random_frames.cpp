// SPDX-License-Identifier: MIT
#include "fw_random_frames.hpp"

#include <algorithm>
#include <map>

#include "fw_draft.hpp"
#include "fw_networks.hpp"
#include "fw_small_world.hpp"

namespace evnf::test {

namespace {

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
        add(rule_.fragment != FwFragment::any, &NearFrame::change_fragment);
        (this->*dice_.one_of(changes))();
    }

    void spoof()
    {
        const auto everything = network(draft_.src.size() == 4 ? "0.0.0.0/0" : "::/0");
        draft_.src = network_inside(dice_, everything, bits_of(draft_.src)).bytes;
    }

    void tag()
    {
        while (draft_.vlans.empty()) draft_.vlans = random_tags(dice_);
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
        const auto before = draft_.fragment;
        while (draft_.fragment == before)
            draft_.fragment = dice_.one_of<FwFragment>({FwFragment::no, FwFragment::first, FwFragment::later});
    }
    void change_icmp()
    {
        auto& field = dice_.chance(50) ? draft_.icmp_type : draft_.icmp_code;
        field = (field + (dice_.chance(50) ? 1 : 255)) % 256;
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
                ++tags[dice_.below(static_cast<unsigned>(tags.size()))] %= 4095;
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

FwTraffic::FwTraffic(std::mt19937& random, const std::vector<FwModelRule>& rules) : dice_{random}, rules_{rules}
{
    const auto draft = random_draft(dice_);
    latest_.push_back({draft, build(dice_, draft)});
}

FwShot FwTraffic::next(FwAim aim)
{
    const auto& rule = rules_[dice_.below(static_cast<unsigned>(rules_.size()))];
    const bool follows = aim == FwAim::answer || aim == FwAim::further || aim == FwAim::error;
    const auto* aimed_at = follows || aim == FwAim::random ? nullptr : &rule;
    const auto drafted = draft(aim, rule);
    FwShot shot{build(dice_, drafted), port_for(aimed_at), aimed_at};
    if (aim == FwAim::cut) {
        shot.frame.resize(14 + dice_.below(static_cast<unsigned>(shot.frame.size()) - 14));
        return shot;
    }
    latest_.push_back({drafted, shot.frame});
    if (latest_.size() > 8) latest_.pop_front();
    return shot;
}

Draft FwTraffic::draft(FwAim aim, const FwModelRule& rule)
{
    NearFrame near{dice_, rules_, rule};
    switch (aim) {
        case FwAim::near_miss: near.miss(); break;
        case FwAim::spoofed: near.spoof(); break;
        case FwAim::tagged: near.tag(); break;
        case FwAim::random: return random_draft(dice_);
        case FwAim::fragment: return fragment(rule);
        case FwAim::answer: return answer();
        case FwAim::further: return further();
        case FwAim::error: return error();
        default: break;
    }
    return near.draft();
}

Draft FwTraffic::fragment(const FwModelRule& rule)
{
    std::vector<Draft> firsts;
    for (const auto& sent : latest_)
        if (sent.draft.fragment == FwFragment::first) firsts.push_back(sent.draft);
    auto draft = NearFrame{dice_, rules_, rule}.draft();
    draft.fragment = dice_.chance(50) ? FwFragment::first : FwFragment::later;
    if (draft.fragment == FwFragment::first || firsts.empty() || dice_.chance(50)) return draft;
    draft = dice_.one_of(firsts);
    draft.fragment = FwFragment::later;
    return draft;
}

Draft FwTraffic::answer()
{
    static const std::map<unsigned, unsigned> replies{{8, 0}, {0, 8}, {128, 129}, {129, 128}};
    auto draft = further();
    std::swap(draft.src, draft.dst);
    std::swap(draft.sport, draft.dport);
    const auto reply = replies.find(draft.icmp_type);
    if (reply != replies.end()) draft.icmp_type = reply->second;
    return draft;
}

Draft FwTraffic::further()
{
    auto draft = latest_[dice_.below(static_cast<unsigned>(latest_.size()))].draft;
    draft.flags = dice_.one_of<unsigned>({SYN, SYN | ACK, SYN | ACK, ACK, ACK, ACK | PSH, ACK | FIN, RST});
    draft.far = dice_.chance(30);
    draft.fragment = FwFragment::no;
    return draft;
}

Draft FwTraffic::error()
{
    const auto& about = latest_[dice_.below(static_cast<unsigned>(latest_.size()))];
    const auto parsed = reference_parse(about.frame);
    auto draft = random_draft(dice_);
    const bool v4 = parsed.ip_version == 4;
    draft.src = network(v4 ? "192.0.2.1" : "2001:db8:9::1").bytes;
    draft.dst = dice_.chance(85) ? parsed.src : parsed.dst;
    draft.protocol = v4 != dice_.chance(5) ? kIcmp : kIcmpv6; // now and then that of the other family
    draft.icmp_type = dice_.one_of<unsigned>(v4 ? std::vector{3u, 11u, 12u} : std::vector{1u, 2u, 3u});
    draft.fragment = FwFragment::no;
    const auto* bytes = reinterpret_cast<const char*>(about.frame.data());
    draft.payload = {bytes + parsed.l3_offset, bytes + parsed.l4_offset + (dice_.chance(90) ? 8 : 7)};
    return draft;
}

std::string FwTraffic::port_for(const FwModelRule* rule)
{
    return rule && !rule->in_ports.empty() && dice_.chance(80) ? dice_.one_of(rule->in_ports) : dice_.one_of<std::string>({"a", "b", "c"});
}

} // namespace evnf::test
