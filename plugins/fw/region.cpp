// SPDX-License-Identifier: MIT
#include "region.hpp"

#include <netinet/in.h>

#include <algorithm>

#include "protocols.hpp"

namespace evnf::fw {

namespace {

/// Of all lists that differ: a million take some 100 ms to sort.
constexpr std::size_t kMostPrefixes = 1'500'000;
/// Ranges of long lists looked at for comparing them.
constexpr std::size_t kMostSteps = 20'000'000;
constexpr std::size_t kLongList = 64;

constexpr std::uint8_t kAnyState = (1 << FW_STATES) - 1;
constexpr std::uint8_t kLater = 1 << EVNF_FRAGMENT_LATER, kAnyFragment = 1 << EVNF_FRAGMENT_NONE | 1 << EVNF_FRAGMENT_FIRST | kLater;

AddressRanges ranges_of(const SharedAddresses& condition)
{
    AddressRanges ranges;
    for (const auto& prefix : condition.prefixes()) {
        const auto first = number_of(prefix.address);
        const auto last = prefix.length == 0 ? ~Number128{0} : first | ((Number128{1} << (128 - prefix.length)) - 1);
        if (prefix.is_v4())
            ranges.v4.emplace_back(static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(last));
        else
            ranges.v6.emplace_back(first, last);
    }
    ranges.v4 = normalised(std::move(ranges.v4));
    ranges.v6 = normalised(std::move(ranges.v6));
    if (!condition.addresses.negated) return ranges;
    return {complement(ranges.v4), complement(ranges.v6)};
}

template <class Value>
std::vector<Value> distinct(std::vector<Value> values)
{
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return values;
}

/// Of lists where an empty one means anything.
template <class Value>
bool includes(const std::vector<Value>& whole, const std::vector<Value>& part)
{
    return whole.empty() || (!part.empty() && std::includes(whole.begin(), whole.end(), part.begin(), part.end()));
}

template <class Value>
std::uint64_t bits(const std::vector<Value>& values)
{
    std::uint64_t all = values.empty() ? ~std::uint64_t{0} : 0;
    for (const auto value : values) all |= std::uint64_t{1} << value;
    return all;
}

bool is_within(std::uint64_t part, std::uint64_t whole)
{
    return (part & ~whole) == 0;
}

Ranges<std::uint16_t> ports(const std::vector<PortRange>& conditions)
{
    if (conditions.empty()) return all_numbers<std::uint16_t>();
    Ranges<std::uint16_t> ranges;
    for (const auto& [first, last] : conditions) ranges.emplace_back(first, last);
    return normalised(std::move(ranges));
}

Ranges<std::uint16_t> icmp(const std::vector<IcmpType>& types, std::uint8_t protocol)
{
    if (types.empty()) return all_numbers<std::uint16_t>();
    Ranges<std::uint16_t> ranges;
    for (const auto& type : types) {
        const int first = type.type << 8 | type.code.value_or(0), last = type.type << 8 | type.code.value_or(255);
        if (type.protocol == protocol) ranges.emplace_back(static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last));
    }
    return normalised(std::move(ranges));
}

std::bitset<256> protocols_with_ports()
{
    std::bitset<256> protocols;
    for (unsigned protocol = 0; protocol < 256; ++protocol) protocols[protocol] = has_ports(static_cast<std::uint8_t>(protocol));
    return protocols;
}

/// Conditions on the L4 header say what protocols there are, too.
std::bitset<256> protocols(const Rule& rule, std::uint8_t icmp_protocol)
{
    static const auto with_ports = protocols_with_ports();
    std::bitset<256> protocols;
    for (const auto protocol : rule.protocols) protocols.set(protocol);
    if (rule.protocols.empty()) protocols.set();
    if (!rule.sport.empty() || !rule.dport.empty()) protocols &= with_ports;
    if (rule.tcp_flags) protocols &= std::bitset<256>{}.set(IPPROTO_TCP);
    if (!rule.icmp_types.empty()) protocols &= std::bitset<256>{}.set(icmp_protocol);
    return protocols;
}

/// One after the other, side by side: for lists of similar lengths.
template <class Number>
bool contains_walking(const Ranges<Number>& whole, const Ranges<Number>& part)
{
    auto at = whole.begin();
    for (const auto& range : part) {
        while (at != whole.end() && at->second < range.first) ++at;
        if (at == whole.end() || at->first > range.first || at->second < range.second) return false;
    }
    return true;
}

} // namespace

bool Region::may_match(fw_family family) const
{
    return src->may_have(family) && dst->may_have(family) && protocols[family].any() && !icmp[family].empty() && fragments != 0;
}

Region RegionMaker::make(const BookRule& entry)
{
    const Rule& rule = entry.rule;
    Region region;
    region.src = addresses(entry.src);
    region.dst = addresses(entry.dst);
    region.protocols = {protocols(rule, IPPROTO_ICMP), protocols(rule, IPPROTO_ICMPV6)};
    region.sport = ports(rule.sport);
    region.dport = ports(rule.dport);
    region.icmp = {icmp(rule.icmp_types, IPPROTO_ICMP), icmp(rule.icmp_types, IPPROTO_ICMPV6)};
    region.flags = rule.tcp_flags.value_or(TcpFlags{});
    const bool asks_header = !rule.sport.empty() || !rule.dport.empty() || !rule.icmp_types.empty() || rule.tcp_flags;
    region.states = rule.states.value_or(kAnyState);
    region.fragments = rule.fragments.value_or(kAnyFragment) & (asks_header && !tracks_ ? ~kLater : 0xff);
    region.dscps = bits(rule.dscps);
    region.in_ports = bits(rule.in_ports);
    region.vlans = distinct(rule.vlans);
    region.inner_vlans = distinct(rule.inner_vlans);
    region.macs = distinct(rule.macs);
    return region;
}

std::shared_ptr<const AddressRanges> RegionMaker::addresses(const AddressCondition& condition)
{
    auto& kept = known_[condition.get()];
    if (kept) return kept;
    AddressRanges ranges{all_numbers<std::uint32_t>(), all_numbers<Number128>()};
    if (condition) {
        prefixes_ += condition->size();
        ranges = prefixes_ <= kMostPrefixes ? ranges_of(*condition) : AddressRanges{{}, {}, false};
    }
    return kept = std::make_shared<const AddressRanges>(std::move(ranges));
}

bool Containment::contains(const Region& whole, const Region& part)
{
    return is_within(part.in_ports, whole.in_ports) && is_within(part.dscps, whole.dscps) && is_within(part.fragments, whole.fragments) &&
           is_within(part.states, whole.states) &&
           is_within(whole.flags.set, part.flags.set) && is_within(whole.flags.clear, part.flags.clear) &&
           includes(whole.vlans, part.vlans) && includes(whole.inner_vlans, part.inner_vlans) && includes(whole.macs, part.macs) &&
           fw::contains(whole.sport, part.sport) && fw::contains(whole.dport, part.dport) &&
           contains(whole, part, FW_V4) && contains(whole, part, FW_V6);
}

bool Containment::contains(const Region& whole, const Region& part, fw_family family)
{
    if (!part.may_match(family)) return true;
    return (part.protocols[family] & ~whole.protocols[family]).none() && fw::contains(whole.icmp[family], part.icmp[family]) &&
           contains(*whole.src, *part.src, family) && contains(*whole.dst, *part.dst, family);
}

bool Containment::contains(const AddressRanges& whole, const AddressRanges& part, fw_family family)
{
    if (&whole == &part) return true;
    return family == FW_V4 ? contains(&whole, &part, &AddressRanges::v4) : contains(&whole, &part, &AddressRanges::v6);
}

template <class Number>
bool Containment::contains(const AddressRanges* whole, const AddressRanges* part, Ranges<Number> AddressRanges::*family)
{
    const auto &in = whole->*family, &of = part->*family;
    if (whole->known && in == all_numbers<Number>()) return true;
    if (!whole->known || !part->known) return false;
    if (of.size() <= kLongList) return fw::contains(in, of);
    const auto [found, is_new] = known_.try_emplace({&in, &of}, false);
    if (!is_new) return found->second;
    const auto steps = in.size() + of.size();
    if (steps_ + steps > kMostSteps) return false;
    steps_ += steps;
    return found->second = contains_walking(in, of);
}

} // namespace evnf::fw
