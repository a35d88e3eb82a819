// SPDX-License-Identifier: MIT
#include "matches.hpp"

#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <functional>
#include <map>
#include <stdexcept>

namespace evnf::fw {

namespace {

constexpr std::size_t kMostMatches = 1u << 19;
/// Longer lists of addresses become groups.
constexpr std::size_t kShortList = 8;
/// Longer lists of matches with the same key are searched for too long.
constexpr std::size_t kLongList = 8;

Prefix all_of(fw_family family)
{
    return family == FW_V4 ? Prefix{*Address::parse("0.0.0.0"), 96} : Prefix{};
}

bool is_of(const Prefix& prefix, fw_family family)
{
    return prefix.is_v4() == (family == FW_V4);
}

/// Sorted, without those that lie in others.
std::vector<Prefix> outermost(std::vector<Prefix> prefixes)
{
    std::sort(prefixes.begin(), prefixes.end());
    std::vector<Prefix> kept;
    for (const auto& prefix : prefixes)
        if (kept.empty() || !is_of(prefix, kept.back().is_v4() ? FW_V4 : FW_V6) || !kept.back().contains(prefix)) kept.push_back(prefix);
    return kept;
}

/// The aligned blocks that the range consists of, each by its first port and its length in bits.
std::vector<std::pair<PortRange, std::uint8_t>> blocks_of(PortRange range)
{
    std::vector<std::pair<PortRange, std::uint8_t>> blocks;
    for (std::uint32_t first = range.first; first <= range.last;) {
        unsigned bits = 16;
        std::uint32_t size = 1;
        while (size < 65536 && !(first & (size * 2 - 1)) && first + size * 2 - 1 <= range.last) size *= 2, --bits;
        blocks.push_back({{static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(first + size - 1)}, static_cast<std::uint8_t>(bits)});
        first += size;
    }
    return blocks;
}

/// Each port once; all of them where there is no condition.
std::vector<PortRange> distinct(std::vector<PortRange> ranges)
{
    if (ranges.empty()) return {{0, 65535}};
    std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<PortRange> merged;
    for (const auto& range : ranges)
        if (merged.empty() || range.first > merged.back().last + 1)
            merged.push_back(range);
        else
            merged.back().last = std::max(merged.back().last, range.last);
    return merged;
}

template <class Value>
std::vector<Value> distinct(std::vector<Value> values)
{
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return values;
}

/// A condition on one side's address, as matches of one family have it: one of some prefixes, and a group and sets that the
/// address is in or, negated, in none of.
struct Side {
    std::vector<Prefix> prefixes;
    int group = -1;
    std::uint64_t sets = 0;
    bool negated = false;
};

class Splitter {
public:
    explicit Splitter(const std::vector<Rule>& rules) : rules_{rules} {}

    Matches split()
    {
        for (std::uint32_t i = 0; i < rules_.size(); ++i)
            for (const auto family : {FW_V4, FW_V6}) split(i, family);
        for (auto& matches : matches_.of)
            for (const auto port : {&PortOf::dport, &PortOf::sport}) split_long_lists(matches, port);
        return std::move(matches_);
    }

private:
    /// Names the members of Match for one of its ports.
    struct PortMembers {
        std::uint16_t fw_entry::*first;
        std::uint16_t fw_entry::*last;
        std::uint8_t Shape::*bits;
    };
    struct PortOf {
        static constexpr PortMembers sport{&fw_entry::sport_first, &fw_entry::sport_last, &Shape::sport};
        static constexpr PortMembers dport{&fw_entry::dport_first, &fw_entry::dport_last, &Shape::dport};
    };

    int group_of(fw_side side, const std::vector<Prefix>& prefixes)
    {
        auto& groups = matches_.groups[side];
        const auto found = std::find(groups.begin(), groups.end(), prefixes);
        if (found != groups.end()) return static_cast<int>(found - groups.begin());
        if (groups.size() == FW_MAX_GROUPS) return -1;
        groups.push_back(prefixes);
        return static_cast<int>(groups.size()) - 1;
    }

    /// A bit each.
    std::uint64_t bits_of(const std::vector<std::string>& sets, std::uint32_t rule)
    {
        std::uint64_t bits = 0;
        auto& known = matches_.sets;
        for (const auto& set : sets) {
            const auto number = std::find(known.begin(), known.end(), set) - known.begin();
            if (number == FW_MAX_SETS)
                throw std::length_error{fmt::format("rule '{}': asks for '${}', and the rules before it for {} other sets; this version takes at most {}",
                                                    rules_[rule].name, set, +FW_MAX_SETS, +FW_MAX_SETS)};
            if (static_cast<std::size_t>(number) == known.size()) known.push_back(set);
            bits |= std::uint64_t{1} << number;
        }
        return bits;
    }

    /// The condition as alternatives: an address meets it where it meets one of them. None where no address of the family does.
    std::vector<Side> read_side(std::uint32_t rule, fw_side side, fw_family family, const std::optional<Addresses>& addresses)
    {
        const std::vector<Prefix> any{all_of(family)};
        if (!addresses) return {{any}};
        const auto sets = bits_of(addresses->sets, rule);
        if (addresses->negated) return {{any, negated_group(rule, side, addresses->prefixes), sets, true}};
        std::vector<Side> alternatives;
        if (sets) alternatives.push_back({any, -1, sets, false});
        const auto prefixes = outermost(addresses->prefixes);
        const int group = prefixes.size() > kShortList ? group_of(side, prefixes) : -1;
        if (group >= 0) {
            alternatives.push_back({any, group, 0, false});
            return alternatives;
        }
        Side listed;
        for (const auto& prefix : prefixes)
            if (is_of(prefix, family)) listed.prefixes.push_back(prefix);
        if (!listed.prefixes.empty()) alternatives.push_back(std::move(listed));
        return alternatives;
    }

    /// -1: there are no prefixes to be in.
    int negated_group(std::uint32_t rule, fw_side side, const std::vector<Prefix>& prefixes)
    {
        if (prefixes.empty()) return -1;
        const int group = group_of(side, outermost(prefixes));
        if (group >= 0) return group;
        throw std::length_error{fmt::format("rule '{}': more than {} negated lists in {}", rules_[rule].name, +FW_MAX_GROUPS,
                                            side == FW_SRC ? "src" : "dst")};
    }

    void split(std::uint32_t index, fw_family family)
    {
        const Rule& rule = rules_[index];
        for (const auto& src : read_side(index, FW_SRC, family, rule.src))
            for (const auto& dst : read_side(index, FW_DST, family, rule.dst)) split(index, family, src, dst);
    }

    void split(std::uint32_t index, fw_family family, const Side& src, const Side& dst)
    {
        Match match;
        match.entry = conditions_of(rules_[index], index);
        set_groups(match.entry, src, dst);
        set_sets(match.entry, src, dst);
        for (const auto& source : src.prefixes)
            for (const auto& destination : dst.prefixes) {
                set_addresses(match, source, destination);
                split_l2(rules_[index], family, match);
            }
    }

    /// Those that need not be taken apart.
    static fw_entry conditions_of(const Rule& rule, std::uint32_t index)
    {
        fw_entry entry{};
        entry.rule = index;
        if (rule.tcp_flags) {
            entry.conditions |= FW_IF_FLAGS;
            entry.flags_mask = rule.tcp_flags->set | rule.tcp_flags->clear;
            entry.flags = rule.tcp_flags->set;
        }
        if (!rule.in_ports.empty()) entry.conditions |= FW_IF_IN_PORT;
        for (const auto port : rule.in_ports) entry.in_ports |= std::uint64_t{1} << port;
        if (!rule.dscps.empty()) entry.conditions |= FW_IF_DSCP;
        for (const auto dscp : rule.dscps) entry.dscps |= std::uint64_t{1} << dscp;
        if (rule.fragments) {
            entry.conditions |= FW_IF_FRAGMENT;
            entry.fragments = *rule.fragments;
        }
        if (rule.states) {
            entry.conditions |= FW_IF_STATE;
            entry.states = *rule.states;
        }
        return entry;
    }

    static void set_groups(fw_entry& entry, const Side& src, const Side& dst)
    {
        if (src.group >= 0) {
            entry.conditions |= FW_IF_SRC_GROUP | (src.negated ? FW_SRC_NOT_IN_GROUP : 0);
            entry.src_group = static_cast<std::uint8_t>(src.group);
        }
        if (dst.group >= 0) {
            entry.conditions |= FW_IF_DST_GROUP | (dst.negated ? FW_DST_NOT_IN_GROUP : 0);
            entry.dst_group = static_cast<std::uint8_t>(dst.group);
        }
    }

    static void set_sets(fw_entry& entry, const Side& src, const Side& dst)
    {
        if (src.sets) entry.conditions |= FW_IF_SRC_SETS | (src.negated ? FW_SRC_NOT_IN_SETS : 0);
        if (dst.sets) entry.conditions |= FW_IF_DST_SETS | (dst.negated ? FW_DST_NOT_IN_SETS : 0);
        entry.src_sets = src.sets;
        entry.dst_sets = dst.sets;
    }

    static void set_addresses(Match& match, const Prefix& src, const Prefix& dst)
    {
        match.src = src;
        match.dst = dst;
        match.shape.src = src.length;
        match.shape.dst = dst.length;
        match.entry.src = src.address.raw;
        match.entry.dst = dst.address.raw;
        match.entry.src_mask = address_mask(src.length);
        match.entry.dst_mask = address_mask(dst.length);
    }

    void split_l2(const Rule& rule, fw_family family, Match match)
    {
        for_each(rule.macs, match, [&](Match& with_mac, std::uint64_t mac) {
            with_mac.entry.conditions |= FW_IF_MAC;
            with_mac.entry.mac = mac;
            with_mac.shape.mac = true;
        }, [&](const Match& with_mac) {
            for_each(rule.vlans, with_mac, [&](Match& tagged, std::uint16_t vlan) {
                tagged.entry.conditions |= FW_IF_VLAN;
                tagged.entry.vlan = vlan;
                tagged.shape.vlan = true;
            }, [&](const Match& tagged) {
                for_each(rule.inner_vlans, tagged, [&](Match& twice, std::uint16_t vlan) {
                    twice.entry.conditions |= FW_IF_INNER_VLAN;
                    twice.entry.inner_vlan = vlan;
                }, [&](const Match& twice) { split_l4(rule, family, twice); });
            });
        });
    }

    void split_l4(const Rule& rule, fw_family family, const Match& match)
    {
        if (!rule.icmp_types.empty()) {
            for (const auto& type : distinct(rule.icmp_types))
                if ((type.protocol == IPPROTO_ICMPV6) == (family == FW_V6)) add(with_icmp(match, type), family);
            return;
        }
        for_each(rule.protocols, match, [](Match& with_protocol, std::uint8_t protocol) {
            with_protocol.entry.conditions |= FW_IF_PROTOCOL;
            with_protocol.entry.protocol = protocol;
            with_protocol.shape.protocol = true;
        }, [&](const Match& with_protocol) {
            if (rule.sport.empty() && rule.dport.empty()) return add(with_protocol, family);
            for (const auto& sport : distinct(rule.sport))
                for (const auto& dport : distinct(rule.dport)) add(with_ports(with_protocol, sport, dport), family);
        });
    }

    /// One match for each value, or the match itself where there is no such condition.
    template <class Value, class Set, class Next>
    static void for_each(const std::vector<Value>& values, const Match& match, Set set, Next next)
    {
        if (values.empty()) return next(match);
        for (const auto& value : distinct(values)) {
            Match with = match;
            set(with, value);
            next(with);
        }
    }

    static Match with_icmp(Match match, const IcmpType& type)
    {
        match.entry.conditions |= FW_IF_PROTOCOL | FW_IF_ICMP_TYPE | (type.code ? FW_IF_ICMP_CODE : 0);
        match.entry.protocol = type.protocol;
        match.entry.icmp_type = type.type;
        match.entry.icmp_code = type.code.value_or(0);
        match.shape.protocol = true;
        return match;
    }

    static Match with_ports(Match match, const PortRange& sport, const PortRange& dport)
    {
        match.entry.conditions |= FW_IF_PORTS;
        match.entry.sport_first = sport.first;
        match.entry.sport_last = sport.last;
        match.entry.dport_first = dport.first;
        match.entry.dport_last = dport.last;
        match.shape.sport = sport.first == sport.last ? 16 : 0;
        match.shape.dport = dport.first == dport.last ? 16 : 0;
        return match;
    }

    void add(const Match& match, fw_family family)
    {
        if (++count_ > kMostMatches)
            throw std::length_error{fmt::format("rule '{}': the lists of the rules up to this one multiply to more than {} combinations: use "
                                                "sets, or fewer lists in one rule",
                                                rules_[match.entry.rule].name, kMostMatches)};
        matches_.of[family].push_back(match);
    }

    /// Where many matches have one key and differ in a range of ports, the ranges are taken apart, too.
    void split_long_lists(std::vector<Match>& matches, const PortMembers* port)
    {
        using Place = std::pair<Shape, std::array<std::uint64_t, 6>>;
        std::map<Place, std::vector<std::size_t>> lists;
        for (std::size_t i = 0; i < matches.size(); ++i) lists[{matches[i].shape, masked_key(matches[i])}].push_back(i);
        std::vector<Match> result;
        std::vector<bool> split(matches.size());
        for (const auto& [place, list] : lists)
            if (list.size() > kLongList)
                for (const auto i : list) split[i] = (matches[i].entry.conditions & FW_IF_PORTS) && matches[i].shape.*port->bits == 0;
        for (std::size_t i = 0; i < matches.size(); ++i) {
            if (!split[i]) {
                result.push_back(matches[i]);
                continue;
            }
            for (const auto& [block, bits] : blocks_of({matches[i].entry.*port->first, matches[i].entry.*port->last})) {
                result.push_back(matches[i]);
                result.back().entry.*port->first = block.first;
                result.back().entry.*port->last = block.last;
                result.back().shape.*port->bits = bits;
            }
        }
        if (result.size() > 2 * kMostMatches) throw std::length_error{fmt::format("the ranges of ports multiply to more than {} combinations", 2 * kMostMatches)};
        matches = std::move(result);
    }

    static std::array<std::uint64_t, 6> masked_key(const Match& match)
    {
        const auto key = key_of(match), mask = mask_of(match.shape);
        return {key.src.halves[0] & mask.src.halves[0], key.src.halves[1] & mask.src.halves[1], key.dst.halves[0] & mask.dst.halves[0],
                key.dst.halves[1] & mask.dst.halves[1], key.l4 & mask.l4, key.l2 & mask.l2};
    }

    const std::vector<Rule>& rules_;
    Matches matches_;
    std::size_t count_ = 0;
};

} // namespace

evnf_address address_mask(unsigned length)
{
    evnf_address mask{};
    for (unsigned i = 0; i < 16 && length > i * 8; ++i)
        mask.bytes[i] = static_cast<std::uint8_t>(length >= i * 8 + 8 ? 0xff : 0xff00 >> (length - i * 8));
    return mask;
}

fw_key key_of(const Match& match)
{
    const auto& entry = match.entry;
    return {entry.src, entry.dst, std::uint64_t{entry.sport_first} << 32 | std::uint64_t{entry.dport_first} << 16 | entry.protocol,
            entry.mac << 16 | entry.vlan};
}

fw_key mask_of(const Shape& shape)
{
    const auto port = [](unsigned bits) { return std::uint64_t{0xffff0000u >> bits & 0xffff}; };
    return {address_mask(shape.src), address_mask(shape.dst), port(shape.sport) << 32 | port(shape.dport) << 16 | (shape.protocol ? 0xff : 0),
            (shape.mac ? 0xffffffffffffull << 16 : 0) | (shape.vlan ? 0xffff : 0)};
}

Matches take_apart(const std::vector<Rule>& rules)
{
    return Splitter{rules}.split();
}

} // namespace evnf::fw
