// SPDX-License-Identifier: MIT
#include "fw_worlds.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace evnf::test {

namespace {

constexpr unsigned kIcmp = 1, kTcp = 6, kUdp = 17, kGre = 47, kEsp = 50, kIcmpv6 = 58, kSctp = 132;

// --- random worlds ------------------------------------------------------------------------------

class Dice {
public:
    explicit Dice(std::mt19937& random) : random_{random} {}

    unsigned below(unsigned count) { return std::uniform_int_distribution<unsigned>{0, count - 1}(random_); }
    bool chance(unsigned percent) { return below(100) < percent; }
    template <class T>
    T one_of(const std::vector<T>& list)
    {
        return list[below(static_cast<unsigned>(list.size()))];
    }
    /// One to three of them.
    template <class T>
    std::vector<T> some_of(const std::vector<T>& list)
    {
        std::vector<T> some;
        for (unsigned n = 1 + below(3); n > 0; --n) some.push_back(one_of(list));
        return some;
    }

private:
    std::mt19937& random_;
};

const std::vector<std::string> kNetworks{
    "0.0.0.0/0",     "10.0.0.0/8",       "10.1.0.0/16",     "10.1.0.0/30",
    "10.1.0.2",      "10.1.0.3",         "10.2.0.0/15",     "10.2.128.0/17",
    "::/0",          "2001:db8::/32",    "fe80::/10",       "2001:db8:1::/48",
    "2001:db8:1::2", "2001:db8:1::/127", "2001:db8:2::/47",
};
const std::vector<std::string> kV4{"10.1.0.0", "10.1.0.2",   "10.1.0.3", "10.1.0.4",
                                   "10.2.0.2", "10.2.200.1", "10.3.1.1", "192.0.2.1"};
const std::vector<std::string> kV6{"2001:db8:1::2", "2001:db8:1::1", "2001:db8:2::7",
                                   "2001:db8:3::7", "2001:db9::1",   "fd00::1"};
const std::vector<unsigned> kPorts{0, 1, 22, 79, 80, 81, 443, 444, 8000, 8080, 8081, 65534, 65535};
const std::vector<unsigned> kProtocols{kIcmp, kTcp, kUdp, kGre, kEsp, kIcmpv6, kSctp};
const std::vector<unsigned> kIcmpTypes{0, 3, 8, 11, 128, 129};
const std::vector<unsigned> kVlans{0, 1, 7, 4094};
const std::vector<unsigned> kFlags{FIN, SYN, RST, ACK};
const std::vector<unsigned> kIcmpCodes{0, 1, 4, 255};
const std::vector<unsigned> kDscps{0, 1, 10, 46, 63};
const std::vector<unsigned> kTos{0, 3, 0x04, 0x28, 0x2b, 0xb8, 0xb9, 0xbc, 0xff};
const std::vector<std::string> kMacs{"02:00:00:00:00:02", "02:00:00:00:00:03", "06:00:00:00:00:02",
                                     "02:aa:bb:cc:dd:ee"};
const std::vector<FwFragment> kFragments{FwFragment::yes, FwFragment::no, FwFragment::first,
                                         FwFragment::later};

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

FwAddresses random_set(Dice& dice)
{
    static const std::map<std::string, std::vector<std::string>> sets{
        {"office", {"10.1.0.0/16", "2001:db8:1::/48"}},
        {"servers", {"10.2.0.2"}},
        {"six", {"2001:db8::/32", "fd00::1"}}};
    const auto name = dice.one_of<std::string>({"office", "servers", "six"});
    FwAddresses addresses{{}, dice.chance(40), name};
    for (const auto& text : sets.at(name)) addresses.networks.push_back(network(text));
    return addresses;
}

FwAddresses random_addresses(Dice& dice)
{
    if (dice.chance(25)) return random_set(dice);
    FwAddresses addresses{{}, dice.chance(25), {}};
    for (const auto& text : dice.some_of(kNetworks)) addresses.networks.push_back(network(text));
    return addresses;
}

std::vector<std::pair<unsigned, unsigned>> random_ports(Dice& dice)
{
    std::vector<std::pair<unsigned, unsigned>> ranges;
    for (const auto port : dice.some_of(kPorts)) {
        const auto other = dice.chance(50) ? port : dice.one_of(kPorts);
        ranges.emplace_back(std::min(port, other), std::max(port, other));
    }
    return ranges;
}

std::vector<FwIcmpType> random_icmp_types(Dice& dice)
{
    std::vector<FwIcmpType> types;
    for (const auto type : dice.some_of(kIcmpTypes))
        types.push_back({type, dice.chance(40) ? std::optional{dice.one_of(kIcmpCodes)} : std::nullopt});
    return types;
}

void random_protocol_conditions(Dice& dice, FwModelRule& rule)
{
    switch (dice.below(6)) {
        case 0:
            rule.protocols = dice.some_of(kProtocols);
            break;
        case 1:
            rule.protocols = dice.some_of<unsigned>({kIcmp, kIcmpv6});
            rule.icmp_types = random_icmp_types(dice);
            break;
        case 2:
            rule.protocols = {kTcp};
            rule.flags_set = dice.chance(70) ? dice.one_of(kFlags) : 0;
            rule.flags_clear = dice.one_of(kFlags) & ~rule.flags_set;
            break;
        case 3:
            rule.protocols = dice.some_of<unsigned>({kTcp, kUdp, kSctp});
            [[fallthrough]];
        case 4:
            if (dice.chance(80)) rule.dport = random_ports(dice);
            if (dice.chance(30)) rule.sport = random_ports(dice);
            break;
        default:
            break;
    }
}

/// Later fragments have no L4 header, so a rule about both is refused.
FwFragment random_fragment_condition(Dice& dice, const FwModelRule& rule)
{
    const bool header = !rule.sport.empty() || !rule.dport.empty() || !rule.icmp_types.empty() || rule.flags_set || rule.flags_clear;
    const auto fragment = dice.one_of(kFragments);
    return header && fragment == FwFragment::later ? FwFragment::first : fragment;
}

FwModelRule random_rule(Dice& dice, unsigned index)
{
    FwModelRule rule;
    rule.name = "r" + std::to_string(index);
    rule.action = dice.one_of<std::string>({"allow", "drop", "netfilter"});
    if (dice.chance(60)) rule.src = random_addresses(dice);
    if (dice.chance(60)) rule.dst = random_addresses(dice);
    random_protocol_conditions(dice, rule);
    if (dice.chance(15)) rule.vlans = dice.some_of(kVlans);
    if (dice.chance(8)) rule.inner_vlans = dice.some_of(kVlans);
    if (dice.chance(8)) rule.src_macs = dice.some_of(kMacs);
    if (dice.chance(8)) rule.dscps = dice.some_of(kDscps);
    if (dice.chance(10)) rule.fragment = random_fragment_condition(dice, rule);
    if (dice.chance(15)) rule.in_ports = dice.some_of<std::string>({"a", "b", "c"});
    return rule;
}

// --- frames -------------------------------------------------------------------------------------

/// A frame before it is built, each field by itself.
struct Draft {
    std::string src, dst; ///< 4 or 16 bytes
    unsigned protocol = kTcp, sport = 1234, dport = 80, flags = ACK, icmp_type = 8, icmp_code = 0, tos = 0;
    std::vector<unsigned> vlans; ///< two at most
    std::string mac = kMacs.front();
    FwFragment fragment = FwFragment::no; ///< no, first or later
};

std::string address_text(const std::string& bytes)
{
    char text[INET6_ADDRSTRLEN] = {};
    inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof text);
    return text;
}

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

// --- structured worlds --------------------------------------------------------------------------

void flip(std::string& address, unsigned bit)
{
    address[bit / 8] = static_cast<char>(address[bit / 8] ^ (0x80 >> bit % 8));
}

/// A network of this length in `around`, at random.
FwNetwork network_inside(Dice& dice, const FwNetwork& around, unsigned length)
{
    FwNetwork inner{{}, around.bytes, length};
    for (unsigned bit = around.length; bit < length; ++bit)
        if (dice.chance(50)) flip(inner.bytes, bit);
    inner.text = fmt::format("{}/{}", address_text(inner.bytes), length);
    return inner;
}

/// An address of the network: at random, or its first or last.
std::string address_inside(Dice& dice, const FwNetwork& around)
{
    auto address = around.bytes;
    const unsigned where = dice.below(4);
    for (unsigned bit = around.length; bit < bits_of(address); ++bit)
        if (where == 0 || (where > 1 && dice.chance(50))) flip(address, bit);
    return address;
}

class StructuredWorld {
public:
    StructuredWorld(Dice& dice, unsigned count)
        : dice_{dice},
          count_{count},
          v4_{grown({network("10.0.0.0/8"), network("172.16.0.0/12")}, 300)},
          v6_{grown({network("2001:db8::/32")}, 200)}
    {
        for (unsigned size : {1, 1, 2, 3, 12}) negated_.push_back({some_networks(size), true, {}});
        sets_ = {{some_networks(2), false, "pair"},
                 {some_networks(12), false, "branches"},
                 {some_networks(60), false, "blocked"}};
    }

    FwModelRule rule(unsigned index)
    {
        FwModelRule rule;
        rule.name = "r" + std::to_string(index);
        rule.action = dice_.one_of<std::string>({"allow", "drop", "netfilter"});
        const bool v6 = dice_.chance(30), is_specific = dice_.chance(90 - 60 * index / count_);
        const bool wide = dice_.chance(20);
        if (!wide || dice_.chance(25)) rule.src = wide ? special() : addresses(v6, is_specific);
        if (wide || dice_.chance(85)) rule.dst = addresses(v6, is_specific);
        add_l4(rule, v6);
        add_rare(rule);
        return rule;
    }

private:
    /// Networks inside networks, those around them first.
    std::vector<FwNetwork> grown(std::vector<FwNetwork> tree, std::size_t size)
    {
        while (tree.size() < size) {
            const auto around = dice_.one_of(tree);
            const unsigned most = bits_of(around.bytes), step = most / 16;
            const unsigned length =
                around.length + (dice_.chance(70) ? step * (1 + dice_.below(4)) : 1 + dice_.below(4 * step));
            if (length <= most) tree.push_back(network_inside(dice_, around, length));
        }
        return tree;
    }

    std::vector<FwNetwork> some_networks(std::size_t count)
    {
        std::vector<FwNetwork> some;
        while (some.size() < count) some.push_back(dice_.one_of(dice_.chance(40) ? v6_ : v4_));
        return some;
    }

    FwNetwork one_network(bool v6, bool is_specific)
    {
        const auto& tree = v6 ? v6_ : v4_;
        auto one = dice_.one_of(tree), other = dice_.one_of(tree);
        if ((one.length < other.length) == is_specific) std::swap(one, other);
        const unsigned most = bits_of(one.bytes), left = most - one.length;
        if (!is_specific || left == 0 || dice_.chance(40)) return one;
        return network_inside(dice_, one, dice_.chance(60) ? most : one.length + 1 + dice_.below(left));
    }

    FwAddresses addresses(bool v6, bool is_specific)
    {
        FwAddresses addresses;
        for (unsigned n = dice_.chance(6) ? 2 + dice_.below(3) : 1; n > 0; --n)
            addresses.networks.push_back(one_network(v6, is_specific));
        return addresses;
    }

    FwAddresses special()
    {
        if (dice_.chance(40)) return dice_.one_of(negated_);
        auto set = dice_.one_of(sets_);
        set.negated = dice_.chance(40);
        return set;
    }

    std::vector<std::pair<unsigned, unsigned>> ports()
    {
        static const std::vector<unsigned> known{21,  22,  25,  53,   80,   123, 161,
                                                 179, 443, 445, 1433, 3306, 8080};
        std::vector<std::pair<unsigned, unsigned>> ranges;
        for (unsigned n = dice_.chance(10) ? 2 + dice_.below(3) : 1; n > 0; --n) {
            const unsigned kind = dice_.below(100), one = dice_.below(65536), width = dice_.below(4000);
            if (kind < 50)
                ranges.emplace_back(dice_.one_of(known), 0), ranges.back().second = ranges.back().first;
            else if (kind < 65)
                ranges.emplace_back(1024, 65535);
            else if (kind < 80)
                ranges.emplace_back(one, one);
            else
                ranges.emplace_back(one, std::min(one + width, 65535u));
        }
        return ranges;
    }

    void add_l4(FwModelRule& rule, bool v6)
    {
        const unsigned kind = dice_.below(100);
        if (kind < 8) {
            rule.protocols = {v6 ? kIcmpv6 : kIcmp};
            if (dice_.chance(60)) rule.icmp_types = random_icmp_types(dice_);
            return;
        }
        if (kind < 55) rule.protocols = {kTcp};
        if (kind >= 55 && kind < 80) rule.protocols = {kUdp};
        if (kind >= 80 && kind < 86) rule.protocols = {kTcp, kUdp};
        if (rule.protocols.empty() && dice_.chance(50)) return;
        if (dice_.chance(85)) rule.dport = ports();
        if (dice_.chance(12)) rule.sport = ports();
        if (rule.protocols != std::vector{kTcp} || dice_.chance(92)) return;
        rule.flags_set = dice_.one_of(kFlags);
        rule.flags_clear = dice_.one_of(kFlags) & ~rule.flags_set;
    }

    void add_rare(FwModelRule& rule)
    {
        if (dice_.chance(3)) rule.vlans = dice_.some_of(kVlans);
        if (dice_.chance(2)) rule.inner_vlans = dice_.some_of(kVlans);
        if (dice_.chance(3)) rule.src_macs = dice_.some_of(kMacs);
        if (dice_.chance(3)) rule.dscps = dice_.some_of(kDscps);
        if (dice_.chance(3)) rule.fragment = random_fragment_condition(dice_, rule);
        if (dice_.chance(3)) rule.in_ports = dice_.some_of<std::string>({"a", "b", "c"});
    }

    Dice& dice_;
    unsigned count_;
    std::vector<FwNetwork> v4_, v6_;
    std::vector<FwAddresses> negated_, sets_; ///< few, and each in many rules
};

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

std::vector<FwModelRule> random_fw_rules(std::mt19937& random, unsigned count)
{
    Dice dice{random};
    std::vector<FwModelRule> rules;
    while (rules.size() < count) rules.push_back(random_rule(dice, static_cast<unsigned>(rules.size())));
    return rules;
}

Frame random_fw_frame(std::mt19937& random)
{
    Dice dice{random};
    return build(dice, random_draft(dice));
}

std::vector<FwModelRule> structured_fw_rules(std::mt19937& random, unsigned count)
{
    Dice dice{random};
    StructuredWorld world{dice, count};
    std::vector<FwModelRule> rules;
    while (rules.size() < count) rules.push_back(world.rule(static_cast<unsigned>(rules.size())));
    return rules;
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
