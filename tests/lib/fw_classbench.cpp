// SPDX-License-Identifier: MIT
#include "fw_classbench.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <set>

#include "fw_networks.hpp"

namespace evnf::test {

namespace {

/// Any, 1024 and up, below 1024, some range, one port.
enum PortClass { WC, HI, LO, AR, EM, kPortClasses };

/// How common what is, in percent.
struct Profile {
    unsigned any_src, any_dst;
    std::array<unsigned, kPortClasses> sport, dport;
    std::array<unsigned, 5> protocols; ///< TCP, UDP, ICMP, any, others
};

/// About what the published seeds have: access lists know their destinations' ports, firewalls are full of
/// wildcards.
const Profile& profile(FwFlavour flavour)
{
    static const Profile acl{10, 2, {97, 1, 0, 1, 1}, {15, 5, 1, 14, 65}, {75, 14, 3, 6, 2}};
    static const Profile fw{45, 35, {60, 10, 1, 4, 25}, {40, 12, 2, 8, 38}, {55, 22, 5, 14, 4}};
    static const Profile ipc{20, 15, {75, 4, 1, 3, 17}, {48, 5, 1, 8, 38}, {45, 22, 8, 22, 3}};
    return flavour == FwFlavour::acl ? acl : flavour == FwFlavour::fw ? fw : ipc;
}

class FilterSet {
public:
    FilterSet(Dice& dice, FwFlavour flavour, FwFamily family, unsigned count)
        : dice_{dice}, profile_{profile(flavour)}, family_{family}
    {
        const std::size_t size = 8 + count / 4;
        for (auto* pool : {&src_, &dst_}) {
            pool->v4 = nested("0.0.0.0/0", {8, 16, 20, 22, 23, 24, 24, 25, 27, 28, 30, 32, 32}, size);
            pool->v6 = nested("2000::/3", {20, 32, 40, 48, 48, 56, 60, 64, 64, 96, 128, 128}, size);
        }
        for (int i = 0; i < 20; ++i) {
            const unsigned first = dice_.below(65536);
            ranges_.emplace_back(first, std::min(first + dice_.below(2000), 65535u));
            ports_.push_back(dice_.below(65536));
        }
    }

    FwModelRule rule()
    {
        FwModelRule rule;
        rule.names_protocols = true;
        rule.action = dice_.one_of<std::string>({"allow", "drop", "netfilter"});
        const bool v6 = family_ == FwFamily::v6 || (family_ == FwFamily::both && dice_.chance(50));
        if (!dice_.chance(profile_.any_src)) rule.src.networks = {dice_.one_of(v6 ? src_.v6 : src_.v4)};
        if (!dice_.chance(profile_.any_dst)) rule.dst.networks = {dice_.one_of(v6 ? dst_.v6 : dst_.v4)};
        switch (by_weight(profile_.protocols)) {
            case 0:
                rule.protocols = {kTcp};
                break;
            case 1:
                rule.protocols = {kUdp};
                break;
            case 2:
                rule.protocols = {v6 ? kIcmpv6 : kIcmp};
                return rule;
            case 3:
                return rule;
            default:
                rule.protocols = {dice_.one_of<unsigned>({kGre, kEsp})};
                return rule;
        }
        rule.sport = ports(profile_.sport);
        rule.dport = ports(profile_.dport);
        return rule;
    }

private:
    struct Pool {
        std::vector<FwNetwork> v4, v6;
    };

    template <std::size_t N>
    unsigned by_weight(const std::array<unsigned, N>& weights)
    {
        unsigned left = dice_.below(std::accumulate(weights.begin(), weights.end(), 0u)), which = 0;
        while (left >= weights[which]) left -= weights[which++];
        return which;
    }

    /// Prefixes of these lengths, most of them in another one.
    std::vector<FwNetwork> nested(const std::string& root, const std::vector<unsigned>& lengths,
                                  std::size_t size)
    {
        std::vector<FwNetwork> tree{network(root)};
        while (tree.size() <= size) {
            const auto& around = dice_.chance(70) ? dice_.one_of(tree) : tree.front();
            const unsigned length = dice_.one_of(lengths);
            if (length > around.length) tree.push_back(network_inside(dice_, around, length));
        }
        tree.erase(tree.begin());
        return tree;
    }

    std::vector<std::pair<unsigned, unsigned>> ports(const std::array<unsigned, kPortClasses>& weights)
    {
        static const std::vector<unsigned> known{20,  21,  22,  23,   25,   53,   80,   110,  123,
                                                 135, 161, 443, 1521, 1723, 3306, 5631, 6789, 8080};
        const unsigned one = dice_.chance(70) ? dice_.one_of(known) : dice_.one_of(ports_);
        switch (by_weight(weights)) {
            case WC:
                return {};
            case HI:
                return {{1024, 65535}};
            case LO:
                return {{0, 1023}};
            case AR:
                return {dice_.one_of(ranges_)};
            default:
                return {{one, one}};
        }
    }

    Dice& dice_;
    const Profile& profile_;
    FwFamily family_;
    Pool src_, dst_;
    std::vector<std::pair<unsigned, unsigned>> ranges_;
    std::vector<unsigned> ports_;
};

} // namespace

std::vector<FwModelRule> classbench_fw_rules(std::mt19937& random, FwFlavour flavour, FwFamily family,
                                             unsigned count)
{
    Dice dice{random};
    FilterSet filters{dice, flavour, family, count};
    std::vector<FwModelRule> rules;
    std::set<std::string> known;
    for (unsigned tries = 0; rules.size() < count && tries < 20 * count; ++tries) {
        auto rule = filters.rule();
        if (auto conditions = rule; conditions.action.clear(), !known.insert(fw_rule_text(conditions)).second)
            continue;
        rule.name = "r" + std::to_string(rules.size());
        rules.push_back(std::move(rule));
    }
    return rules;
}

} // namespace evnf::test
