// SPDX-License-Identifier: MIT
#include "fw_random_rules.hpp"

#include <algorithm>
#include <iterator>
#include <map>

#include "fw_networks.hpp"
#include "fw_small_world.hpp"

namespace evnf::test {

namespace {

// --- a small world ------------------------------------------------------------------------------

const std::vector<std::string> kNetworks{
    "0.0.0.0/0",     "10.0.0.0/8",       "10.1.0.0/16",     "10.1.0.0/30",
    "10.1.0.2",      "10.1.0.3",         "10.2.0.0/15",     "10.2.128.0/17",
    "::/0",          "2001:db8::/32",    "fe80::/10",       "2001:db8:1::/48",
    "2001:db8:1::2", "2001:db8:1::/127", "2001:db8:2::/47",
};
const std::vector<FwFragment> kFragments{FwFragment::yes, FwFragment::no, FwFragment::first,
                                         FwFragment::later};

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

std::vector<std::string> networks_of(FwFamily family)
{
    std::vector<std::string> some;
    std::copy_if(kNetworks.begin(), kNetworks.end(), std::back_inserter(some), [&](const auto& text) {
        const bool v6 = text.find(':') != std::string::npos;
        return family == FwFamily::both || v6 == (family == FwFamily::v6);
    });
    return some;
}

FwAddresses random_addresses(Dice& dice, FwFamily family)
{
    if (dice.chance(25)) return random_set(dice);
    FwAddresses addresses{{}, dice.chance(25), {}};
    for (const auto& text : dice.some_of(networks_of(family))) addresses.networks.push_back(network(text));
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
    const unsigned codes = dice.chance(50) ? 0 : 60;
    for (const auto type : dice.some_of(kIcmpTypes))
        types.push_back({type, dice.chance(codes) ? std::optional{dice.one_of(kIcmpCodes)} : std::nullopt});
    return types;
}

void random_protocol_conditions(Dice& dice, FwModelRule& rule)
{
    switch (dice.below(6)) {
        case 0:
            rule.protocols = dice.some_of(kProtocols);
            break;
        case 1:
            rule.protocols = dice.one_of<std::vector<unsigned>>({{kIcmp}, {kIcmpv6}, {kIcmp, kIcmpv6}});
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

FwModelRule random_rule(Dice& dice, unsigned index, FwFamily family)
{
    FwModelRule rule;
    rule.name = "r" + std::to_string(index);
    rule.action = dice.one_of<std::string>({"allow", "drop", "netfilter"});
    rule.names_protocols = dice.chance(50);
    if (dice.chance(60)) rule.src = random_addresses(dice, family);
    if (dice.chance(60)) rule.dst = random_addresses(dice, family);
    random_protocol_conditions(dice, rule);
    if (dice.chance(15)) rule.vlans = dice.some_of(kVlans);
    if (dice.chance(8)) rule.inner_vlans = dice.some_of(kVlans);
    if (dice.chance(8)) rule.src_macs = dice.some_of(kMacs);
    if (dice.chance(8)) rule.dscps = dice.some_of(kDscps);
    if (dice.chance(10)) rule.fragment = random_fragment_condition(dice, rule);
    if (dice.chance(15)) rule.in_ports = dice.some_of<std::string>({"a", "b", "c"});
    return rule;
}

// --- at large -----------------------------------------------------------------------------------

FwAddresses uniform_network(Dice& dice, bool v6)
{
    const auto everything = network(v6 ? "::/0" : "0.0.0.0/0");
    return {{network_inside(dice, everything, dice.below(bits_of(everything.bytes) + 1))}, false, {}};
}

std::vector<std::pair<unsigned, unsigned>> uniform_range(Dice& dice)
{
    const unsigned one = dice.below(65536), other = dice.chance(40) ? one : dice.below(65536);
    return {{std::min(one, other), std::max(one, other)}};
}

FwModelRule uniform_rule(Dice& dice, unsigned index, FwFamily family)
{
    FwModelRule rule;
    rule.name = "r" + std::to_string(index);
    rule.action = dice.one_of<std::string>({"allow", "drop", "netfilter"});
    const bool v6 = family == FwFamily::v6 || (family == FwFamily::both && dice.chance(50));
    rule.src = uniform_network(dice, v6);
    rule.dst = uniform_network(dice, v6);
    if (dice.chance(60)) {
        rule.protocols = {dice.one_of<unsigned>({kTcp, kUdp, kSctp})};
        if (dice.chance(50)) rule.sport = uniform_range(dice);
        if (dice.chance(70)) rule.dport = uniform_range(dice);
    } else if (dice.chance(60)) {
        rule.protocols = {dice.below(256)};
    }
    return rule;
}

// --- a large network ----------------------------------------------------------------------------

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

} // namespace

std::vector<FwModelRule> random_fw_rules(std::mt19937& random, unsigned count, FwFamily family)
{
    Dice dice{random};
    std::vector<FwModelRule> rules;
    while (rules.size() < count) rules.push_back(random_rule(dice, static_cast<unsigned>(rules.size()), family));
    return rules;
}

void add_states(std::mt19937& random, std::vector<FwModelRule>& rules)
{
    static const std::vector<std::string> states{"new", "established", "related", "invalid"};
    Dice dice{random};
    for (auto& rule : rules) {
        if (dice.chance(40)) rule.states = dice.chance(70) ? std::vector{dice.one_of(states)} : dice.some_of(states);
    }
    if (dice.chance(50)) return;
    FwModelRule bad, replies, errors;
    bad.name = "bad", bad.action = "drop", bad.states = {"invalid"};
    replies.name = "replies", replies.action = "allow", replies.states = {"established"};
    errors.name = "errors", errors.action = "allow", errors.states = {"related"};
    rules.insert(rules.begin(), {bad, replies, errors});
}

std::vector<FwModelRule> uniform_fw_rules(std::mt19937& random, unsigned count, FwFamily family)
{
    Dice dice{random};
    std::vector<FwModelRule> rules;
    while (rules.size() < count) rules.push_back(uniform_rule(dice, static_cast<unsigned>(rules.size()), family));
    return rules;
}

std::vector<FwModelRule> structured_fw_rules(std::mt19937& random, unsigned count)
{
    Dice dice{random};
    StructuredWorld world{dice, count};
    std::vector<FwModelRule> rules;
    while (rules.size() < count) rules.push_back(world.rule(static_cast<unsigned>(rules.size())));
    return rules;
}

} // namespace evnf::test
