// SPDX-License-Identifier: MIT
#include "rules.hpp"

#include <netinet/in.h>

#include <fmt/format.h>
#include <evnf/dscp.hpp>
#include <evnf/slots.hpp>

#include <algorithm>
#include <charconv>
#include <set>

#include "protocols.hpp"

namespace evnf::fw {

namespace {

constexpr std::string_view kEstablishedName = "established";
constexpr std::int64_t kMaxVlan = 4094;
constexpr std::int64_t kMostConnections = 16'000'000;

const std::vector<std::pair<std::string_view, fw_action>>& rule_actions()
{
    static const std::vector<std::pair<std::string_view, fw_action>> names{
        {"allow", FW_ALLOW}, {"drop", FW_DROP}, {"netfilter", FW_NETFILTER}, {"reject", FW_REJECT}};
    return names;
}

const std::vector<std::pair<std::string_view, fw_action>>& fallbacks()
{
    static const std::vector<std::pair<std::string_view, fw_action>> names{
        {"netfilter", FW_NETFILTER}, {"next", FW_ALLOW}, {"drop", FW_DROP}};
    return names;
}

std::vector<Node> elements(const Node& node)
{
    auto nodes = node.list();
    if (nodes.empty()) node.error("must not be an empty list");
    return nodes;
}

std::optional<std::uint32_t> number(std::string_view text, std::uint32_t max)
{
    std::uint32_t value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc{} || end != text.data() + text.size() || value > max) return std::nullopt;
    return value;
}

std::optional<PortRange> read_port_range(const Node& node)
{
    const auto text = node.string();
    if (text.empty()) return std::nullopt;
    const auto dash = text.find('-');
    const auto first = number(std::string_view{text}.substr(0, dash), 65535);
    const auto last =
        dash == std::string::npos ? first : number(std::string_view{text}.substr(dash + 1), 65535);
    if (!first || !last) {
        node.error(
            fmt::format("must be a port from 0 to 65535 or a range such as 8000-8080, not '{}'", text));
        return std::nullopt;
    }
    if (*first > *last) {
        node.error(fmt::format("the range {} ends before it begins", text));
        return std::nullopt;
    }
    return PortRange{static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
}

std::vector<PortRange> read_port_ranges(const Node& node)
{
    std::vector<PortRange> ranges;
    for (const auto& element : elements(node))
        if (const auto range = read_port_range(element)) ranges.push_back(*range);
    return ranges;
}

std::vector<std::uint8_t> read_protocols(const Node& node)
{
    std::vector<std::uint8_t> protocols;
    for (const auto& element : elements(node)) {
        const auto text = element.string();
        if (text.empty()) continue;
        if (const auto named = protocol_number(text))
            protocols.push_back(*named);
        else if (const auto value = number(text, 255))
            protocols.push_back(static_cast<std::uint8_t>(*value));
        else
            element.error(fmt::format(
                "must be a protocol such as tcp, udp, icmp or a number from 0 to 255, not '{}'", text));
    }
    return protocols;
}

/// The types that `text` ("echo-request", "3", "destination-unreachable/4") means for each of the rule's protocols.
std::vector<IcmpType> icmp_types(std::string_view text, const std::vector<std::uint8_t>& protocols)
{
    std::vector<IcmpType> types;
    const auto slash = text.find('/');
    std::optional<std::uint8_t> code;
    if (slash != std::string_view::npos) {
        const auto value = number(text.substr(slash + 1), 255);
        if (!value) return {};
        code = static_cast<std::uint8_t>(*value);
        text = text.substr(0, slash);
    }
    const auto value = number(text, 255);
    const auto* name = icmp_name(text);
    for (const auto protocol : protocols) {
        if (value)
            types.push_back({protocol, static_cast<std::uint8_t>(*value), code});
        else if (const auto type = name ? name->number(protocol) : std::nullopt)
            types.push_back({protocol, *type, code});
    }
    return types;
}

std::vector<IcmpType> read_icmp_types(const Node& node, const std::vector<std::uint8_t>& protocols)
{
    std::vector<IcmpType> types;
    for (const auto& element : elements(node)) {
        const auto text = element.string();
        if (text.empty()) continue;
        const auto more = icmp_types(text, protocols);
        if (more.empty())
            element.error(
                fmt::format("'{}' is neither a number from 0 to 255 nor the name of a type that the rule's "
                            "protocol has, with '/' and a code or without",
                            text));
        types.insert(types.end(), more.begin(), more.end());
    }
    return types;
}

/// Reads "syn,!ack".
TcpFlags read_tcp_flags(const Node& node)
{
    TcpFlags flags;
    const auto text = node.string();
    for (std::string_view rest = text; !rest.empty();) {
        const auto comma = std::min(rest.find(','), rest.size());
        auto word = rest.substr(0, comma);
        rest.remove_prefix(std::min(comma + 1, rest.size()));
        const bool clear = word.starts_with('!');
        if (clear) word.remove_prefix(1);
        const auto bit = tcp_flag(word);
        if (!bit)
            node.error(fmt::format("'{}' is no TCP flag; there are fin, syn, rst, psh, ack, urg, ece and cwr",
                                   word));
        else
            (clear ? flags.clear : flags.set) |= *bit;
    }
    if (flags.set & flags.clear) node.error("no packet has a flag both set and clear");
    return flags;
}

std::vector<std::uint16_t> read_vlans(const Node& node)
{
    std::vector<std::uint16_t> vlans;
    for (const auto& element : elements(node))
        vlans.push_back(static_cast<std::uint16_t>(element.integer(0, kMaxVlan)));
    return vlans;
}

std::vector<std::uint16_t> read_in_ports(const Node& node, const Ports& ports)
{
    std::vector<std::uint16_t> indices;
    for (const auto& element : elements(node)) {
        const auto name = element.string();
        if (name.empty()) continue;
        if (const int index = ports.index(name); index >= 0)
            indices.push_back(static_cast<std::uint16_t>(index));
        else
            element.error(fmt::format("there is no port '{}' in ports", name));
    }
    return indices;
}

std::vector<std::uint64_t> read_macs(const Node& node)
{
    std::vector<std::uint64_t> macs;
    for (const auto& element : elements(node)) {
        const auto text = element.string();
        if (text.empty()) continue;
        if (const auto mac = mac_address(text); mac && *mac != 0) // 0 is what frames without MAC addresses have
            macs.push_back(*mac);
        else
            element.error(fmt::format("must be a MAC address such as 02:00:5e:10:00:01, not '{}'", text));
    }
    return macs;
}

std::vector<std::uint8_t> read_dscps(const Node& node)
{
    std::vector<std::uint8_t> dscps;
    for (const auto& element : elements(node)) {
        const auto text = element.string();
        if (text.empty()) continue;
        if (const auto named = dscp_number(text))
            dscps.push_back(*named);
        else if (const auto value = number(text, 63))
            dscps.push_back(static_cast<std::uint8_t>(*value));
        else
            element.error(fmt::format("must be a DSCP such as ef, af41, cs6 or a number from 0 to 63, not '{}'", text));
    }
    return dscps;
}

std::uint8_t read_fragments(const Node& node)
{
    constexpr std::uint8_t none = 1 << EVNF_FRAGMENT_NONE, first = 1 << EVNF_FRAGMENT_FIRST, later = 1 << EVNF_FRAGMENT_LATER;
    // YAML takes yes and no for what they say.
    return node.one_of(std::vector<std::pair<std::string_view, std::uint8_t>>{
        {"yes", first | later}, {"no", none}, {"first", first}, {"later", later}});
}

std::uint8_t read_states(const Node& node)
{
    std::uint8_t states = 0;
    for (const auto& element : elements(node))
        states |= static_cast<std::uint8_t>(1u << element.one_of(std::vector<std::pair<std::string_view, fw_state>>{
                                                {"new", FW_STATE_NEW},
                                                {"established", FW_STATE_ESTABLISHED},
                                                {"related", FW_STATE_RELATED},
                                                {"invalid", FW_STATE_INVALID}}));
    return states;
}

/// Reads "100/s", "30/m" or "10/h": nanoseconds from one to the next.
std::uint64_t read_interval(const Node& node)
{
    constexpr std::uint64_t second = 1'000'000'000;
    constexpr std::uint32_t most = 1'000'000;
    const auto text = node.string();
    if (text.empty()) return second;
    const auto slash = std::min(text.find('/'), text.size());
    const auto count = number(std::string_view{text}.substr(0, slash), most);
    const auto unit = std::string_view{text}.substr(slash);
    const auto per = unit == "/s" ? second : unit == "/m" ? 60 * second : unit == "/h" ? 3600 * second : 0;
    if (count && *count > 0 && per) return per / *count;
    node.error(fmt::format("must be a rate from 1 to {} a second, minute or hour such as 100/s, 30/m or 10/h, not '{}'", most, text));
    return second;
}

/// Without a burst: what a second earns, but no less than the 5 that iptables and nftables give.
Limit read_limit(const Node& node)
{
    constexpr std::uint64_t second = 1'000'000'000;
    constexpr std::uint64_t least = 5;
    constexpr std::int64_t most = 1'000'000;
    Map map{node};
    Limit limit;
    limit.interval_ns = read_interval(map.required("rate"));
    limit.burst = static_cast<std::uint32_t>(std::max(least, second / limit.interval_ns));
    if (const auto burst = map.optional("burst")) limit.burst = static_cast<std::uint32_t>(burst->integer(1, most));
    if (const auto per = map.optional("per"))
        limit.per = per->one_of(std::vector<std::pair<std::string_view, fw_per>>{
            {"rule", FW_PER_RULE}, {"src", FW_PER_SRC}, {"dst", FW_PER_DST}, {"flow", FW_PER_FLOW}});
    map.done();
    return limit;
}

std::uint32_t read_max_limits(const Node& node)
{
    constexpr std::int64_t most = 4'194'304;
    Map map{node};
    const auto max = map.required("max");
    map.done();
    return max.present() ? static_cast<std::uint32_t>(max.integer(1, most)) : kDefaultMaxLimits;
}

/// Reads one rule. A condition that no packet can meet beside the others is a mistake.
class RuleReader {
public:
    RuleReader(const Node& node, const Sets& sets, const Ports& ports)
        : map_{node}, sets_{sets}, ports_{ports}
    {
        // Taken for absent, a key without a value would widen the rule.
        for (const auto& [key, value] : Map{node}.entries())
            if (!value.present()) value.error("has no value");
    }

    Rule read()
    {
        rule_.name = read_name(map_.required("name"));
        rule_.action = map_.required("action").one_of(rule_actions());
        if (const auto src = map_.optional("src")) rule_.src = read_addresses(*src, sets_);
        if (const auto dst = map_.optional("dst")) rule_.dst = read_addresses(*dst, sets_);
        if (const auto vlan = map_.optional("vlan")) rule_.vlans = read_vlans(*vlan);
        if (const auto vlan = map_.optional("inner_vlan")) rule_.inner_vlans = read_vlans(*vlan);
        if (const auto mac = map_.optional("src_mac")) rule_.macs = read_macs(*mac);
        if (const auto dscp = map_.optional("dscp")) rule_.dscps = read_dscps(*dscp);
        if (const auto fragment = map_.optional("fragment")) rule_.fragments = read_fragments(*fragment);
        if (const auto state = map_.optional("state")) rule_.states = read_states(*state);
        if (const auto limit = map_.optional("limit")) rule_.limit = read_limit(*limit);
        if (const auto log = map_.optional("log")) rule_.log = log->boolean();
        if (const auto port = map_.optional("in_port")) rule_.in_ports = read_in_ports(*port, ports_);
        read_l4();
        map_.done();
        return std::move(rule_);
    }

private:
    static std::string read_name(const Node& node)
    {
        auto name = node.string();
        if (name.size() >= kSlotNameSize)
            node.error(fmt::format("must be shorter than {} bytes", kSlotNameSize));
        if (name == kDefaultName || name == kEstablishedName)
            node.error(fmt::format("'{}' is what eVNF itself reports, no rule may be named so", name));
        return name;
    }

    void read_l4()
    {
        if ((proto_ = map_.optional("proto"))) rule_.protocols = read_protocols(*proto_);
        if (const auto sport = map_.optional("sport"); sport && allows_ports(*sport))
            rule_.sport = read_port_ranges(*sport);
        if (const auto dport = map_.optional("dport"); dport && allows_ports(*dport))
            rule_.dport = read_port_ranges(*dport);
        if (const auto types = map_.optional("icmp_type"); types && allows_icmp(*types))
            rule_.icmp_types = read_icmp_types(*types, rule_.protocols);
        if (const auto flags = map_.optional("tcp_flags"); flags && allows_flags(*flags))
            rule_.tcp_flags = read_tcp_flags(*flags);
        const bool asks_header = !rule_.sport.empty() || !rule_.dport.empty() || !rule_.icmp_types.empty() || rule_.tcp_flags;
        if (rule_.fragments == 1 << EVNF_FRAGMENT_LATER && asks_header)
            map_.node().error("no later fragment has ports, an ICMP type or TCP flags");
    }

    bool allows_ports(const Node& node) const
    {
        return !proto_ || every_protocol(node, has_ports, "tcp, udp or sctp");
    }
    bool allows_icmp(const Node& node) const
    {
        return every_protocol(
            node, [](auto p) { return p == IPPROTO_ICMP || p == IPPROTO_ICMPV6; }, "icmp or icmpv6");
    }
    bool allows_flags(const Node& node) const
    {
        return every_protocol(
            node, [](auto p) { return p == IPPROTO_TCP; }, "tcp");
    }

    template <class Predicate>
    bool every_protocol(const Node& node, Predicate fits, std::string_view wanted) const
    {
        const auto& protocols = rule_.protocols;
        if (proto_ && protocols.empty()) return false; // unreadable, and reported
        if (!protocols.empty() && std::all_of(protocols.begin(), protocols.end(), fits)) return true;
        node.error(fmt::format("needs a proto that is {}, and nothing else", wanted));
        return false;
    }

    Map map_;
    const Sets& sets_;
    const Ports& ports_;
    std::optional<Node> proto_;
    Rule rule_;
};

std::vector<Rule> read_rules(const Node& node, const Sets& sets, const Ports& ports)
{
    const auto nodes = node.list();
    if (nodes.size() > FW_MAX_RULES)
        node.error(fmt::format("has {} rules; this version takes at most {}", nodes.size(), +FW_MAX_RULES));
    std::vector<Rule> rules;
    std::set<std::string> names;
    for (const auto& element : nodes) {
        rules.push_back(RuleReader{element, sets, ports}.read());
        const auto& name = rules.back().name;
        if (!name.empty() && !names.insert(name).second)
            element.error(fmt::format("there is a rule named '{}' already", name));
    }
    return rules;
}

void read_timeouts(const Node& node, Tracking& tracking)
{
    using namespace std::chrono_literals;
    Map map{node};
    const auto read = [&](std::string_view key, std::chrono::milliseconds& timeout) {
        if (const auto value = map.optional(key)) timeout = value->duration(1s, 168h);
    };
    read("syn", tracking.syn);
    read("established", tracking.established);
    read("fin", tracking.fin);
    read("udp", tracking.udp);
    read("icmp", tracking.icmp);
    read("other", tracking.other);
    map.done();
}

Tracking read_tracking(Map& map)
{
    Tracking tracking;
    const auto read = [&](std::string_view key, std::uint32_t& most) {
        if (const auto node = map.optional(key)) most = static_cast<std::uint32_t>(node->integer(1, kMostConnections));
    };
    read("max_connections", tracking.max_connections);
    read("max_half_open", tracking.max_half_open);
    if (const auto node = map.optional("loose")) tracking.loose = node->boolean();
    if (const auto node = map.optional("timeouts")) read_timeouts(*node, tracking);
    return tracking;
}

std::string_view name_in(const std::vector<std::pair<std::string_view, fw_action>>& names, fw_action action)
{
    return std::find_if(names.begin(), names.end(), [&](const auto& e) { return e.second == action; })->first;
}

} // namespace

Policy read_policy(const Node& config, const Ports& ports)
{
    Policy policy;
    Map map{config};
    if (const auto node = map.optional("sets")) policy.sets = read_sets(*node);
    if (const auto node = map.optional("default")) policy.fallback = node->one_of(fallbacks());
    if (const auto node = map.optional("limits")) policy.max_limits = read_max_limits(*node);
    if (const auto node = map.optional("rules")) policy.rules = read_rules(*node, policy.sets, ports);
    policy.tracking = read_tracking(map);
    map.done();
    return policy;
}

bool Policy::leaves_to_netfilter() const
{
    return fallback == FW_NETFILTER ||
           std::any_of(rules.begin(), rules.end(), [](const Rule& rule) { return rule.action == FW_NETFILTER; });
}

bool Policy::asks_state() const
{
    return std::any_of(rules.begin(), rules.end(), [](const Rule& rule) { return rule.states.has_value(); });
}

bool Policy::has_limits() const
{
    return std::any_of(rules.begin(), rules.end(), [](const Rule& rule) { return rule.limit.has_value(); });
}

bool Policy::has_keyed_limits() const
{
    return std::any_of(rules.begin(), rules.end(), [](const Rule& rule) { return rule.limit && rule.limit->per != FW_PER_RULE; });
}

bool Policy::has_logs() const
{
    return std::any_of(rules.begin(), rules.end(), [](const Rule& rule) { return rule.log; });
}

bool Policy::has_rejects() const
{
    return std::any_of(rules.begin(), rules.end(), [](const Rule& rule) { return rule.action == FW_REJECT; });
}

std::string_view action_name(fw_action action)
{
    return name_in(rule_actions(), action);
}

std::string_view fallback_name(fw_action action)
{
    return name_in(fallbacks(), action);
}

} // namespace evnf::fw
