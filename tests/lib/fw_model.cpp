// SPDX-License-Identifier: MIT
#include "fw_model.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

namespace evnf::test {

namespace {

constexpr unsigned kIcmp = 1, kTcp = 6, kUdp = 17, kGre = 47, kEsp = 50, kIcmpv6 = 58, kSctp = 132;

// --- matching -----------------------------------------------------------------------------------

bool is_inside(const std::string& address, const FwNetwork& network)
{
    if (address.size() != network.bytes.size()) return false;
    for (unsigned bit = 0; bit < network.length; ++bit)
        if ((address[bit / 8] ^ network.bytes[bit / 8]) & (0x80 >> bit % 8)) return false;
    return true;
}

bool address_fits(const FwAddresses& wanted, const std::string& address)
{
    const auto& networks = wanted.networks;
    if (networks.empty()) return true;
    return std::any_of(networks.begin(), networks.end(),
                       [&](const auto& n) { return is_inside(address, n); }) != wanted.negated;
}

template <class T>
bool has(const std::vector<T>& list, const T& value)
{
    return std::find(list.begin(), list.end(), value) != list.end();
}

bool port_fits(const std::vector<std::pair<unsigned, unsigned>>& ranges, const Parsed& packet, unsigned port)
{
    if (ranges.empty()) return true;
    if (packet.later_fragment) return false;
    if (packet.protocol != kTcp && packet.protocol != kUdp && packet.protocol != kSctp) return false;
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const auto& r) { return port >= r.first && port <= r.second; });
}

bool icmp_fits(const std::vector<unsigned>& types, const Parsed& packet)
{
    if (types.empty()) return true;
    if (packet.later_fragment || packet.protocol != (packet.ip_version == 4 ? kIcmp : kIcmpv6)) return false;
    return has(types, packet.icmp_type);
}

bool flags_fit(unsigned set, unsigned clear, const Parsed& packet)
{
    if (!set && !clear) return true;
    if (packet.later_fragment || packet.protocol != kTcp) return false;
    return (packet.tcp_flags & set) == set && !(packet.tcp_flags & clear);
}

bool vlan_fits(const std::vector<unsigned>& vlans, const Parsed& packet)
{
    return vlans.empty() || (!packet.vlans.empty() && has(vlans, packet.vlans.front()));
}

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

/// Three sets that every random policy has.
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

void random_protocol_conditions(Dice& dice, FwModelRule& rule)
{
    switch (dice.below(6)) {
        case 0:
            rule.protocols = dice.some_of(kProtocols);
            break;
        case 1:
            rule.protocols = dice.some_of<unsigned>({kIcmp, kIcmpv6});
            rule.icmp_types = dice.some_of(kIcmpTypes);
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

FwModelRule random_rule(Dice& dice, unsigned index)
{
    FwModelRule rule;
    rule.name = "r" + std::to_string(index);
    rule.action = dice.one_of<std::string>({"allow", "drop", "netfilter"});
    if (dice.chance(60)) rule.src = random_addresses(dice);
    if (dice.chance(60)) rule.dst = random_addresses(dice);
    random_protocol_conditions(dice, rule);
    if (dice.chance(15)) rule.vlans = dice.some_of(kVlans);
    if (dice.chance(15)) rule.in_ports = dice.some_of<std::string>({"a", "b", "c"});
    return rule;
}

void add_ip_header(Dice& dice, std::vector<Layer>& layers, bool v6, unsigned fragment_offset, bool more,
                   unsigned protocol)
{
    const auto next = static_cast<std::uint8_t>(protocol);
    const auto offset = static_cast<std::uint16_t>(fragment_offset);
    if (!v6) {
        layers.push_back(Ipv4{.src = dice.one_of(kV4),
                              .dst = dice.one_of(kV4),
                              .more_fragments = more,
                              .fragment_offset = offset,
                              .options = dice.chance(20) ? std::string(4, '\1') : "",
                              .protocol = next});
        return;
    }
    const bool fragment = offset > 0 || more;
    layers.push_back(Ipv6{.src = dice.one_of(kV6), .dst = dice.one_of(kV6)});
    if (dice.chance(20)) layers.push_back(HopByHop{});
    if (fragment) layers.push_back(Fragment{.offset = offset, .more = more, .next = next});
    // Without a fragment header, something else must carry the number of a protocol that has no layer of its
    // own.
    if (!fragment) layers.push_back(DestOpts{.next = next});
}

Layer random_l4(Dice& dice, unsigned protocol)
{
    const auto port = [&] { return static_cast<std::uint16_t>(dice.one_of(kPorts)); };
    const auto type = [&] { return static_cast<std::uint8_t>(dice.one_of(kIcmpTypes)); };
    switch (protocol) {
        case kTcp:
            return Tcp{.sport = port(), .dport = port(), .flags = static_cast<std::uint8_t>(dice.below(64))};
        case kUdp:
            return Udp{.sport = port(), .dport = port()};
        case kSctp:
            return Sctp{.sport = port(), .dport = port()};
        case kIcmp:
            return Icmp{.type = type()};
        case kIcmpv6:
            return Icmpv6{.type = type()};
        default:
            return Payload{std::string(24, '\0')};
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

std::string yaml_flags(const FwModelRule& rule)
{
    static const std::map<unsigned, std::string> names{
        {FIN, "fin"}, {SYN, "syn"}, {RST, "rst"}, {ACK, "ack"}};
    std::vector<std::string> words;
    for (const auto& [bit, name] : names) {
        if (rule.flags_set & bit) words.push_back(name);
        if (rule.flags_clear & bit) words.push_back("!" + name);
    }
    return fmt::format("\"{}\"", fmt::join(words, ","));
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
    add(!rule.protocols.empty(), "proto", fmt::format("[{}]", fmt::join(rule.protocols, ", ")));
    add(!rule.icmp_types.empty(), "icmp_type", fmt::format("[{}]", fmt::join(rule.icmp_types, ", ")));
    add(rule.flags_set || rule.flags_clear, "tcp_flags", yaml_flags(rule));
    add(!rule.vlans.empty(), "vlan", fmt::format("[{}]", fmt::join(rule.vlans, ", ")));
    add(!rule.in_ports.empty(), "in_port", fmt::format("[{}]", fmt::join(rule.in_ports, ", ")));
    return text + "}";
}

} // namespace

bool fw_matches(const FwModelRule& rule, const Parsed& packet, const std::string& port)
{
    return address_fits(rule.src, packet.src) && address_fits(rule.dst, packet.dst) &&
           port_fits(rule.sport, packet, packet.sport) && port_fits(rule.dport, packet, packet.dport) &&
           (rule.protocols.empty() || has(rule.protocols, packet.protocol)) &&
           icmp_fits(rule.icmp_types, packet) && flags_fit(rule.flags_set, rule.flags_clear, packet) &&
           vlan_fits(rule.vlans, packet) && (rule.in_ports.empty() || has(rule.in_ports, port));
}

std::string fw_decides(const std::vector<FwModelRule>& rules, const Parsed& packet, const std::string& port)
{
    for (const auto& rule : rules)
        if (fw_matches(rule, packet, port)) return rule.name;
    return "default";
}

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
    for (;;) {
        const bool v6 = dice.chance(50), fragment = dice.chance(15), later = fragment && dice.chance(60);
        const auto protocol = dice.one_of(kProtocols);
        std::vector<Layer> layers{Eth{}};
        for (unsigned tags = dice.chance(40) ? 1 + dice.below(2) : 0; tags > 0; --tags)
            layers.push_back(Vlan{.id = static_cast<std::uint16_t>(dice.one_of(kVlans))});
        add_ip_header(dice, layers, v6, later ? 2 + dice.below(100) : 0, fragment && dice.chance(50),
                      protocol);
        layers.push_back(random_l4(dice, protocol));
        layers.push_back(Payload{std::string(16, 'x')});
        const auto frame = build(layers);
        if (reference_parse(frame).problem.empty()) return frame;
    }
}

std::string fw_settings(const std::vector<FwModelRule>& rules, const std::string& fallback)
{
    std::vector<std::string> texts;
    for (const auto& rule : rules) texts.push_back(yaml(rule));
    return fmt::format(
        "{{default: {}, sets: {{office: [10.1.0.0/16, \"2001:db8:1::/48\"], servers: 10.2.0.2, "
        "six: [\"2001:db8::/32\", \"fd00::1\"]}}, rules: [{}]}}",
        fallback, fmt::join(texts, ", "));
}

} // namespace evnf::test
