// SPDX-License-Identifier: MIT
#include "explain.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include <evnf/dscp.hpp>

#include "protocols.hpp"

namespace evnf::fw {

namespace json = boost::json;

namespace {

constexpr std::size_t kMostListed = 16;
/// Of a condition's elements.
constexpr std::size_t kMostShown = 4;

// --- comparing ----------------------------------------------------------------------------------

/// Compares rules with one packet; a condition that rules share is looked at once.
class Comparer {
public:
    explicit Comparer(const DescribedPacket& packet) : packet_{packet} {}

    Comparison compare(const BookRule& entry)
    {
        const Rule& rule = entry.rule;
        Comparison result;
        const auto require = [&](std::string_view key, Answer answer) {
            if (answer == Answer::no) result.differs.push_back(key);
            if (answer == Answer::open) result.open.push_back(key);
        };
        require("src", holds(entry.src, packet_.src, src_));
        require("dst", holds(entry.dst, packet_.dst, dst_));
        require("proto", is_in(rule.protocols, packet_.protocol));
        require("sport", port_is_in(rule.sport, packet_.sport));
        require("dport", port_is_in(rule.dport, packet_.dport));
        require("icmp_type", has_type(rule.icmp_types));
        require("tcp_flags", has_flags(rule.tcp_flags));
        require("vlan", is_in(rule.vlans, packet_.vlan));
        require("inner_vlan", is_in(rule.inner_vlans, packet_.inner_vlan));
        require("src_mac", is_in(rule.macs, packet_.mac));
        require("dscp", is_in(rule.dscps, packet_.dscp));
        require("fragment", answer(!rule.fragments || (*rule.fragments >> packet_.fragment & 1)));
        require("in_port", is_in(rule.in_ports, packet_.in_port));
        require("state", answer(!rule.states || (*rule.states >> packet_.state & 1)));
        require("limit", rule.limit ? Answer::open : Answer::yes);
        return result;
    }

private:
    enum class Answer { yes, no, open };
    using Known = std::map<const SharedAddresses*, bool>;

    static Answer answer(bool holds) { return holds ? Answer::yes : Answer::no; }

    static Answer holds(const AddressCondition& condition, const Address& address, Known& known)
    {
        if (!condition) return Answer::yes;
        const auto [found, is_new] = known.try_emplace(condition.get());
        if (is_new) found->second = condition->holds(address);
        return answer(found->second);
    }

    template <class Value>
    static Answer is_in(const std::vector<Value>& list, const std::optional<Value>& value)
    {
        if (list.empty()) return Answer::yes;
        if (!value) return Answer::open;
        return answer(std::find(list.begin(), list.end(), *value) != list.end());
    }
    template <class Value>
    static Answer is_in(const std::vector<Value>& list, Value value)
    {
        return is_in(list, std::optional{value});
    }

    Answer port_is_in(const std::vector<PortRange>& ranges, const std::optional<std::uint16_t>& port) const
    {
        if (ranges.empty()) return Answer::yes;
        if (!packet_.has_ports()) return Answer::no;
        if (!port) return Answer::open;
        return answer(std::any_of(ranges.begin(), ranges.end(), [&](const PortRange& range) { return *port >= range.first && *port <= range.last; }));
    }

    Answer has_type(const std::vector<IcmpType>& types) const
    {
        if (types.empty()) return Answer::yes;
        return answer(packet_.has_icmp() && std::any_of(types.begin(), types.end(), [&](const IcmpType& type) {
                          return type.protocol == packet_.protocol && type.type == packet_.icmp_type && type.code.value_or(packet_.icmp_code) == packet_.icmp_code;
                      }));
    }

    Answer has_flags(const std::optional<TcpFlags>& flags) const
    {
        if (!flags) return Answer::yes;
        return answer(packet_.has_flags() && (packet_.tcp_flags & flags->set) == flags->set && !(packet_.tcp_flags & flags->clear));
    }

    const DescribedPacket& packet_;
    Known src_, dst_;
};

// --- what a rule wants --------------------------------------------------------------------------

template <class List, class Text>
std::string listed(const List& list, Text text)
{
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < list.size() && i < kMostShown; ++i) texts.push_back(text(list[i]));
    if (list.size() > kMostShown) texts.push_back(fmt::format("{} more", list.size() - kMostShown));
    return fmt::format("{}", fmt::join(texts, ", "));
}

std::string addresses_text(const AddressCondition& condition)
{
    const auto& [prefixes, sets, negated] = condition->addresses;
    const char* const mark = negated ? "!" : "";
    std::vector<std::string> texts;
    for (const auto& set : sets) texts.push_back(fmt::format("{}${}", mark, set));
    if (!prefixes.empty()) texts.push_back(listed(prefixes, [&](const Prefix& prefix) { return mark + prefix.text(); }));
    return fmt::format("{}", fmt::join(texts, ", "));
}

std::string ports_text(const std::vector<PortRange>& ranges)
{
    return listed(ranges, [](const PortRange& range) {
        return range.first == range.last ? std::to_string(range.first) : fmt::format("{}-{}", range.first, range.last);
    });
}

std::string icmp_text(const std::vector<IcmpType>& types)
{
    return listed(types, [](const IcmpType& type) {
        return icmp_type_text(type.protocol, type.type) + (type.code ? fmt::format("/{}", *type.code) : "");
    });
}

std::string flags_text(const TcpFlags& flags)
{
    const auto set = tcp_flags_text(flags.set), clear = tcp_flags_text(flags.clear, "!");
    return set + (set.empty() || clear.empty() ? "" : ",") + clear;
}

std::string fragments_text(std::uint8_t fragments)
{
    constexpr int first = 1 << EVNF_FRAGMENT_FIRST, later = 1 << EVNF_FRAGMENT_LATER;
    return fragments == (first | later) ? "yes" : fragments == first ? "first" : fragments == later ? "later" : "no";
}

std::string states_text(std::uint8_t states)
{
    static constexpr std::array<std::string_view, FW_STATES> names{"new", "established", "related", "invalid"};
    std::vector<std::string_view> texts;
    for (std::size_t state = 0; state < names.size(); ++state)
        if (states >> state & 1) texts.push_back(names[state]);
    return fmt::format("{}", fmt::join(texts, ", "));
}

template <class Number>
std::string numbers_text(const std::vector<Number>& numbers)
{
    return listed(numbers, [](Number number) { return std::to_string(number); });
}

/// The value that the rule has for the key, as the configuration would say it.
std::string wanted(const BookRule& entry, std::string_view key, const PortNames& ports)
{
    const Rule& rule = entry.rule;
    if (key == "src") return addresses_text(entry.src);
    if (key == "dst") return addresses_text(entry.dst);
    if (key == "proto") return listed(rule.protocols, protocol_text);
    if (key == "sport") return ports_text(rule.sport);
    if (key == "dport") return ports_text(rule.dport);
    if (key == "icmp_type") return icmp_text(rule.icmp_types);
    if (key == "tcp_flags") return flags_text(*rule.tcp_flags);
    if (key == "vlan") return numbers_text(rule.vlans);
    if (key == "inner_vlan") return numbers_text(rule.inner_vlans);
    if (key == "src_mac") return listed(rule.macs, mac_text);
    if (key == "dscp") return listed(rule.dscps, dscp_text);
    if (key == "fragment") return fragments_text(*rule.fragments);
    if (key == "state") return states_text(*rule.states);
    if (key == "limit") return "a packet within it";
    return listed(rule.in_ports, [&](std::uint16_t index) { return ports.at(index); });
}

json::object entry_for(const BookRule& rule, const char* how, const std::vector<std::string_view>& keys, const PortNames& ports)
{
    std::vector<std::string> wants;
    for (const auto key : keys) wants.push_back(wanted(rule, key, ports));
    return {{"rule", rule.rule.name},
            {"action", action_name(rule.rule.action)},
            {how, json::value_from(keys)},
            {"wants", fmt::format("{}", fmt::join(wants, "; "))}};
}

} // namespace

Comparison compare(const BookRule& rule, const DescribedPacket& packet)
{
    return Comparer{packet}.compare(rule);
}

json::object explain(const RuleBook& book, const DescribedPacket& packet)
{
    Comparer comparer{packet};
    const BookRule* decides = nullptr;
    json::array depends, nearly;
    for (const auto& rule : book.rules) {
        const auto comparison = comparer.compare(rule);
        const auto& [differs, open] = comparison;
        if (!decides && comparison.matches())
            decides = &rule;
        else if (!decides && differs.empty() && depends.size() < kMostListed)
            depends.push_back(entry_for(rule, "on", open, book.ports));
        else if (differs.size() == 1 && open.empty() && nearly.size() < kMostListed)
            nearly.push_back(entry_for(rule, "differs", differs, book.ports));
    }
    json::object result{{"packet", to_words(packet, book.ports)},
                        {"rule", decides ? decides->rule.name : std::string{kDefaultName}},
                        {"action", decides ? action_name(decides->rule.action) : fallback_name(book.fallback)}};
    if (!depends.empty()) result["depends_on"] = std::move(depends);
    result["nearly"] = std::move(nearly);
    return result;
}

} // namespace evnf::fw
