// SPDX-License-Identifier: MIT
#include "fw_coverage.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace evnf::test {

namespace {

/// One condition by itself.
struct Part {
    std::string kind;
    FwModelRule rule;
};

std::string kind(const FwAddresses& addresses)
{
    const std::string mark = addresses.negated ? "!" : "";
    if (!addresses.set.empty()) return mark + "$set";
    if (addresses.networks.size() > 1) return mark + "list";
    return mark + (addresses.networks.front().bytes.size() == 4 ? "v4" : "v6");
}

std::string kind(const std::vector<std::pair<unsigned, unsigned>>& ports)
{
    if (ports.size() > 1) return "list";
    return ports.front().first == ports.front().second ? "one" : "range";
}

std::string kind_of_icmp(const FwModelRule& rule)
{
    const auto is = [&](unsigned protocol) { return rule.protocols == std::vector{protocol}; };
    const bool code = std::any_of(rule.icmp_types.begin(), rule.icmp_types.end(),
                                  [](const auto& type) { return type.code.has_value(); });
    return fmt::format("{}{}", is(kIcmp) ? "v4" : is(kIcmpv6) ? "v6" : "both", code ? " code" : "");
}

std::string kind(FwFragment fragment)
{
    return fragment == FwFragment::yes     ? "yes"
           : fragment == FwFragment::no    ? "no"
           : fragment == FwFragment::first ? "first"
                                           : "later";
}

std::vector<Part> parts(const FwModelRule& rule)
{
    std::vector<Part> parts;
    const auto add = [&](bool there, const std::string& kind, auto... fields) {
        if (!there) return;
        Part part{kind, {}};
        ((part.rule.*fields = rule.*fields), ...);
        parts.push_back(part);
    };
    using Rule = FwModelRule;
    add(!rule.src.networks.empty(), "src " + (rule.src.networks.empty() ? "" : kind(rule.src)), &Rule::src);
    add(!rule.dst.networks.empty(), "dst " + (rule.dst.networks.empty() ? "" : kind(rule.dst)), &Rule::dst);
    add(!rule.sport.empty(), "sport " + (rule.sport.empty() ? "" : kind(rule.sport)), &Rule::sport);
    add(!rule.dport.empty(), "dport " + (rule.dport.empty() ? "" : kind(rule.dport)), &Rule::dport);
    add(!rule.protocols.empty(), rule.names_protocols ? "proto name" : "proto number", &Rule::protocols);
    add(!rule.icmp_types.empty(), "icmp_type " + kind_of_icmp(rule), &Rule::icmp_types);
    add(rule.flags_set || rule.flags_clear, rule.flags_set ? "tcp_flags set" : "tcp_flags clear",
        &Rule::flags_set, &Rule::flags_clear);
    add(!rule.vlans.empty(), "vlan", &Rule::vlans);
    add(!rule.inner_vlans.empty(), "inner_vlan", &Rule::inner_vlans);
    add(!rule.src_macs.empty(), "src_mac", &Rule::src_macs);
    add(!rule.dscps.empty(), "dscp", &Rule::dscps);
    add(rule.fragment != FwFragment::any, "fragment " + kind(rule.fragment), &Rule::fragment);
    add(!rule.in_ports.empty(), "in_port", &Rule::in_ports);
    add(!rule.states.empty(), "state " + (rule.states.size() == 1 ? rule.states.front() : "list"),
        &Rule::states);
    return parts;
}

} // namespace

void FwCoverage::met(const FwModelRule& rule)
{
    for (const auto& part : parts(rule)) ++met_[part.kind];
}

void FwCoverage::missed(const FwModelRule& rule, const FwDecision& decision, const std::string& port)
{
    std::vector<std::string> unmet;
    for (const auto& part : parts(rule))
        if (!fw_matches(part.rule, decision.packet, port, decision.state)) unmet.push_back(part.kind);
    if (unmet.size() == 1) ++missed_[unmet.front()];
}

std::vector<std::string> FwCoverage::never(const std::vector<std::string>& kinds) const
{
    std::vector<std::string> never;
    for (const auto& kind : kinds) {
        if (!met_.count(kind)) never.push_back(kind + " met");
        if (!missed_.count(kind)) never.push_back(kind + " missed");
    }
    return never;
}

} // namespace evnf::test
