// SPDX-License-Identifier: MIT
#include "conditions.hpp"

#include <algorithm>
#include <iterator>

namespace evnf::fw::iptables {

namespace {

bool are_among(const NameSet& names, const NameSet& others)
{
    return !others || (names && std::includes(others->begin(), others->end(), names->begin(), names->end()));
}

bool is_none(const NameSet& names)
{
    return names && names->empty();
}

} // namespace

AddressSet all_addresses(Family family)
{
    return AddressSet::all(family == Family::v4 ? 0xffffffff : ~AddressValue{0});
}

NameSet names_in_both(const NameSet& a, const NameSet& b)
{
    if (!a || !b) return a ? a : b;
    std::set<std::string> names;
    std::set_intersection(a->begin(), a->end(), b->begin(), b->end(), std::inserter(names, names.end()));
    return names;
}

bool Conditions::empty() const
{
    return src.empty() || dst.empty() || sport.empty() || dport.empty() || protocols.empty() || icmp.empty() || dscps.empty() ||
           states.empty() || (flags_set & flags_clear) || is_none(in_ports) || is_none(macs);
}

bool Conditions::meets(const Conditions& other) const
{
    return !((flags_set | other.flags_set) & (flags_clear | other.flags_clear)) && src.intersects(other.src) && dst.intersects(other.dst) &&
           protocols.intersects(other.protocols) && sport.intersects(other.sport) && dport.intersects(other.dport) &&
           icmp.intersects(other.icmp) && dscps.intersects(other.dscps) && states.intersects(other.states) &&
           !is_none(names_in_both(in_ports, other.in_ports)) && !is_none(names_in_both(macs, other.macs));
}

bool Conditions::is_within(const Conditions& other) const
{
    return !(other.flags_set & ~flags_set) && !(other.flags_clear & ~flags_clear) && other.src.includes(src) && other.dst.includes(dst) &&
           other.protocols.includes(protocols) && other.sport.includes(sport) && other.dport.includes(dport) && other.icmp.includes(icmp) &&
           other.dscps.includes(dscps) && other.states.includes(states) && are_among(in_ports, other.in_ports) && are_among(macs, other.macs);
}

bool Conditions::is_all() const
{
    return src.is_all() && dst.is_all() && sport.is_all() && dport.is_all() && protocols.is_all() && icmp.is_all() && dscps.is_all() &&
           states.is_all() && !flags_set && !flags_clear && !in_ports && !macs;
}

Conditions operator&(const Conditions& a, const Conditions& b)
{
    Conditions result = a;
    result.src = a.src & b.src;
    result.dst = a.dst & b.dst;
    result.sport = a.sport & b.sport;
    result.dport = a.dport & b.dport;
    result.protocols = a.protocols & b.protocols;
    result.icmp = a.icmp & b.icmp;
    result.dscps = a.dscps & b.dscps;
    result.states = a.states & b.states;
    result.flags_set |= b.flags_set;
    result.flags_clear |= b.flags_clear;
    result.in_ports = names_in_both(a.in_ports, b.in_ports);
    result.macs = names_in_both(a.macs, b.macs);
    return result;
}

Alternatives operator&(const Alternatives& a, const Alternatives& b)
{
    Alternatives result;
    for (const auto& one : a)
        for (const auto& other : b)
            if (auto both = one & other; !both.empty()) result.push_back(std::move(both));
    return result;
}

} // namespace evnf::fw::iptables
