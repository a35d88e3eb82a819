// SPDX-License-Identifier: MIT
#include "fw_model.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

namespace evnf::test {

namespace {

// --- matching -----------------------------------------------------------------------------------

bool is_inside(const std::string& address, const FwNetwork& network)
{
    if (address.size() != network.bytes.size()) return false;
    for (unsigned bit = 0; bit < network.length; ++bit)
        if ((address[bit / 8] ^ network.bytes[bit / 8]) & (0x80 >> bit % 8)) return false;
    return true;
}

template <class T>
bool has(const std::vector<T>& list, const T& value)
{
    return std::find(list.begin(), list.end(), value) != list.end();
}

bool port_fits(const std::vector<std::pair<unsigned, unsigned>>& ranges, const Parsed& packet, unsigned port)
{
    if (ranges.empty()) return true;
    if (!packet.has_l4) return false;
    if (packet.protocol != kTcp && packet.protocol != kUdp && packet.protocol != kSctp) return false;
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const auto& r) { return port >= r.first && port <= r.second; });
}

bool icmp_fits(const std::vector<FwIcmpType>& types, const Parsed& packet)
{
    if (types.empty()) return true;
    if (!packet.has_l4 || packet.protocol != (packet.ip_version == 4 ? kIcmp : kIcmpv6)) return false;
    return std::any_of(types.begin(), types.end(), [&](const auto& t) {
        return t.type == packet.icmp_type && (!t.code || *t.code == packet.icmp_code);
    });
}

bool flags_fit(unsigned set, unsigned clear, const Parsed& packet)
{
    if (!set && !clear) return true;
    if (!packet.has_l4 || packet.protocol != kTcp) return false;
    return (packet.tcp_flags & set) == set && !(packet.tcp_flags & clear);
}

/// The tag at `depth`, counted from the outer one.
bool vlan_fits(const std::vector<unsigned>& vlans, const Parsed& packet, std::size_t depth)
{
    return vlans.empty() || (packet.vlans.size() > depth && has(vlans, packet.vlans[depth]));
}

bool mac_fits(const std::vector<std::string>& macs, const Parsed& packet)
{
    std::vector<std::string> bytes;
    for (const char byte : packet.src_mac)
        bytes.push_back(fmt::format("{:02x}", static_cast<unsigned char>(byte)));
    return macs.empty() || has(macs, fmt::format("{}", fmt::join(bytes, ":")));
}

bool fragment_fits(FwFragment wanted, const Parsed& packet)
{
    const bool later = packet.later_fragment, first = packet.first_fragment && !later;
    switch (wanted) {
        case FwFragment::yes:
            return first || later;
        case FwFragment::no:
            return !first && !later;
        case FwFragment::first:
            return first;
        case FwFragment::later:
            return later;
        default:
            return true;
    }
}

// --- YAML ---------------------------------------------------------------------------------------

std::string yaml(const FwAddresses& addresses)
{
    const std::string mark = addresses.negated ? "!" : "";
    if (!addresses.set.empty()) return fmt::format("\"{}${}\"", mark, addresses.set);
    std::vector<std::string> texts;
    for (const auto& network : addresses.networks)
        texts.push_back(fmt::format("\"{}{}\"", mark, network.text));
    return fmt::format("[{}]", fmt::join(texts, ", "));
}

std::string yaml(const std::vector<std::pair<unsigned, unsigned>>& ranges)
{
    std::vector<std::string> texts;
    for (const auto& [first, last] : ranges)
        texts.push_back(first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last));
    return fmt::format("[{}]", fmt::join(texts, ", "));
}

std::string yaml(const std::vector<FwIcmpType>& types)
{
    std::vector<std::string> texts;
    for (const auto& [type, code] : types)
        texts.push_back(code ? fmt::format("\"{}/{}\"", type, *code) : fmt::format("{}", type));
    return fmt::format("[{}]", fmt::join(texts, ", "));
}

std::string yaml(FwFragment fragment)
{
    static const std::map<FwFragment, std::string> names{{FwFragment::any, ""},
                                                         {FwFragment::yes, "yes"},
                                                         {FwFragment::no, "no"},
                                                         {FwFragment::first, "first"},
                                                         {FwFragment::later, "later"}};
    return names.at(fragment);
}

std::string yaml_flags(const FwModelRule& rule)
{
    static const std::map<unsigned, std::string> names{
        {FIN, "fin"}, {SYN, "syn"}, {RST, "rst"}, {PSH, "psh"}, {ACK, "ack"}, {URG, "urg"}, {0x40, "ece"}, {0x80, "cwr"}};
    std::vector<std::string> words;
    for (const auto& [bit, name] : names) {
        if (rule.flags_set & bit) words.push_back(name);
        if (rule.flags_clear & bit) words.push_back("!" + name);
    }
    return fmt::format("\"{}\"", fmt::join(words, ","));
}

std::string yaml_protocols(const FwModelRule& rule)
{
    static const std::map<unsigned, std::string> names{{kIcmp, "icmp"}, {kTcp, "tcp"}, {kUdp, "udp"}, {kGre, "gre"},
                                                       {kEsp, "esp"}, {kIcmpv6, "icmpv6"}, {kSctp, "sctp"}};
    std::vector<std::string> words;
    for (const auto protocol : rule.protocols)
        words.push_back(rule.names_protocols ? names.at(protocol) : std::to_string(protocol));
    return fmt::format("[{}]", fmt::join(words, ", "));
}

/// The sets that the rules refer to.
std::string yaml_sets(const std::vector<FwModelRule>& rules)
{
    std::map<std::string, std::string> sets;
    for (const auto& rule : rules)
        for (const auto* side : {&rule.src, &rule.dst})
            if (!side->set.empty() && !sets.count(side->set))
                sets[side->set] = yaml(FwAddresses{side->networks, false, {}});
    std::vector<std::string> texts;
    for (const auto& [name, networks] : sets) texts.push_back(name + ": " + networks);
    return fmt::format("{{{}}}", fmt::join(texts, ", "));
}

std::string yaml(const FwModelRule& rule)
{
    std::string text = fmt::format("{{name: {}, action: {}", rule.name, rule.action);
    const auto add = [&](bool there, const char* key, const std::string& value) {
        if (there) text += fmt::format(", {}: {}", key, value);
    };
    add(!rule.src.networks.empty(), "src", yaml(rule.src));
    add(!rule.dst.networks.empty(), "dst", yaml(rule.dst));
    add(!rule.sport.empty(), "sport", yaml(rule.sport));
    add(!rule.dport.empty(), "dport", yaml(rule.dport));
    add(!rule.protocols.empty(), "proto", yaml_protocols(rule));
    add(!rule.icmp_types.empty(), "icmp_type", yaml(rule.icmp_types));
    add(rule.flags_set || rule.flags_clear, "tcp_flags", yaml_flags(rule));
    add(!rule.vlans.empty(), "vlan", fmt::format("[{}]", fmt::join(rule.vlans, ", ")));
    add(!rule.inner_vlans.empty(), "inner_vlan", fmt::format("[{}]", fmt::join(rule.inner_vlans, ", ")));
    add(!rule.src_macs.empty(), "src_mac", fmt::format("[\"{}\"]", fmt::join(rule.src_macs, "\", \"")));
    add(!rule.dscps.empty(), "dscp", fmt::format("[{}]", fmt::join(rule.dscps, ", ")));
    add(rule.fragment != FwFragment::any, "fragment", yaml(rule.fragment));
    add(!rule.in_ports.empty(), "in_port", fmt::format("[{}]", fmt::join(rule.in_ports, ", ")));
    add(!rule.states.empty(), "state", fmt::format("[{}]", fmt::join(rule.states, ", ")));
    return text + "}";
}

} // namespace

bool fw_address_fits(const FwAddresses& wanted, const std::string& address)
{
    const auto& networks = wanted.networks;
    if (networks.empty()) return true;
    return std::any_of(networks.begin(), networks.end(),
                       [&](const auto& n) { return is_inside(address, n); }) != wanted.negated;
}

bool fw_matches(const FwModelRule& rule, const Parsed& packet, const std::string& port, const std::string& state)
{
    return fw_address_fits(rule.src, packet.src) && fw_address_fits(rule.dst, packet.dst) &&
           port_fits(rule.sport, packet, packet.sport) && port_fits(rule.dport, packet, packet.dport) &&
           (rule.protocols.empty() || has(rule.protocols, packet.protocol)) &&
           icmp_fits(rule.icmp_types, packet) && flags_fit(rule.flags_set, rule.flags_clear, packet) &&
           vlan_fits(rule.vlans, packet, 0) && vlan_fits(rule.inner_vlans, packet, 1) &&
           mac_fits(rule.src_macs, packet) && (rule.dscps.empty() || has(rule.dscps, packet.tos / 4)) &&
           fragment_fits(rule.fragment, packet) && (rule.in_ports.empty() || has(rule.in_ports, port)) &&
           (rule.states.empty() || has(rule.states, state));
}

std::string fw_decides(const std::vector<FwModelRule>& rules, const Parsed& packet, const std::string& port)
{
    const auto found = std::find_if(rules.begin(), rules.end(), [&](const auto& r) { return fw_matches(r, packet, port, "new"); });
    return found == rules.end() ? "default" : found->name;
}

std::string fw_rule_text(const FwModelRule& rule)
{
    return yaml(rule);
}

std::string fw_settings(const std::vector<FwModelRule>& rules, const std::string& fallback, const std::string& more)
{
    std::vector<std::string> texts;
    for (const auto& rule : rules) texts.push_back(yaml(rule));
    return fmt::format("{{default: {}, sets: {}, rules: [{}]{}{}}}", fallback, yaml_sets(rules),
                       fmt::join(texts, ", "), more.empty() ? "" : ", ", more);
}

} // namespace evnf::test
