// SPDX-License-Identifier: MIT
#include "compiler.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <tuple>

namespace evnf::fw {

namespace {

void set(fw_bitmap& bitmap, std::size_t rule)
{
    bitmap.words[rule / 64] |= std::uint64_t{1} << rule % 64;
}

bool is_empty(const fw_bitmap& bitmap)
{
    return !bitmap.words[0] && !bitmap.words[1];
}

template <class Operation>
fw_bitmap combine(const fw_bitmap& a, const fw_bitmap& b, Operation operation)
{
    return {{operation(a.words[0], b.words[0]), operation(a.words[1], b.words[1])}};
}

fw_bitmap without(const fw_bitmap& a, const fw_bitmap& b)
{
    return combine(a, b, [](auto x, auto y) { return x & ~y; });
}

fw_prefix key_of(const Prefix& prefix)
{
    return {32u + prefix.length, prefix.is_v4() ? 4u : 6u, prefix.address.raw};
}

bool is_within(const fw_prefix& inner, const fw_prefix& outer)
{
    const Prefix network{Address::from(outer.address), static_cast<std::uint8_t>(outer.length - 32)};
    return inner.family == outer.family && network.contains(Address::from(inner.address)) &&
           inner.length >= outer.length;
}

/// An address table under construction: what each prefix by itself says.
class PrefixTable {
public:
    /// The networks of both families: every packet has a row.
    PrefixTable()
    {
        entries_.push_back({key_of({*Address::parse("0.0.0.0"), 96}), {}});
        entries_.push_back({key_of({}), {}});
    }

    void add(std::size_t rule, const Addresses& addresses)
    {
        if (addresses.negated) set(negated_, rule);
        for (const auto& prefix : addresses.prefixes) {
            entries_.push_back({key_of(prefix), {}});
            set(entries_.back().inside, rule);
        }
    }

    /// `others`: the rules that do not ask for the address.
    PrefixRows finish(const fw_bitmap& others)
    {
        inherit();
        PrefixRows table;
        for (const auto& entry : entries_) {
            const auto asking = combine(entry.inside, negated_, std::bit_xor<>{});
            table.keys.push_back(entry.key);
            table.rows.push_back(combine(asking, others, std::bit_or<>{}));
        }
        return table;
    }

private:
    struct Entry {
        fw_prefix key;
        fw_bitmap inside; // rules whose list has a prefix around this one
    };

    /// Merges equal prefixes and hands each prefix's rules down to the longer ones in it.
    void inherit()
    {
        std::sort(entries_.begin(), entries_.end(),
                  [](const Entry& a, const Entry& b) { return order(a) < order(b); });
        std::vector<Entry> merged;
        std::vector<std::size_t> around; // indices in `merged`, outermost first
        for (const auto& entry : entries_) {
            while (!around.empty() && !is_within(entry.key, merged[around.back()].key)) around.pop_back();
            const bool again = !around.empty() && merged[around.back()].key.length == entry.key.length;
            if (!again) {
                merged.push_back({entry.key, around.empty() ? fw_bitmap{} : merged[around.back()].inside});
                around.push_back(merged.size() - 1);
            }
            merged.back().inside = combine(merged.back().inside, entry.inside, std::bit_or<>{});
        }
        entries_ = std::move(merged);
    }

    /// Outer prefixes come right before those in them.
    static std::tuple<std::uint32_t, Address, std::uint32_t> order(const Entry& entry)
    {
        return {entry.key.family, Address::from(entry.key.address), entry.key.length};
    }

    std::vector<Entry> entries_;
    fw_bitmap negated_{};
};

class Compiler {
public:
    explicit Compiler(const std::vector<Rule>& rules) : rules_{rules}
    {
        for (std::size_t i = 0; i < rules.size(); ++i) set(tables_.config.rules, i);
    }

    Tables compile()
    {
        tables_.src = prefixes(FW_SRC, &Rule::src);
        tables_.dst = prefixes(FW_DST, &Rule::dst);
        array(FW_SPORT, FW_PORT_ROWS, &Rule::sport, &Compiler::add_ports);
        array(FW_DPORT, FW_PORT_ROWS, &Rule::dport, &Compiler::add_ports);
        array(FW_PROTOCOL, FW_PROTOCOL_ROWS, &Rule::protocols, &Compiler::add_value<std::uint8_t>);
        array(FW_ICMP, FW_ICMP_ROWS, &Rule::icmp_types, &Compiler::add_icmp_type);
        array(FW_VLAN, FW_VLAN_ROWS, &Rule::vlans, &Compiler::add_value<std::uint16_t>);
        array(FW_IN_PORT, FW_IN_PORT_ROWS, &Rule::in_ports, &Compiler::add_value<std::uint16_t>);
        tcp_flags();
        return std::move(tables_);
    }

private:
    using Rows = std::vector<fw_bitmap>;

    /// Notes which rules ask for the field; those that do not.
    template <class Asks>
    fw_bitmap divide(fw_field field, Asks asks)
    {
        auto& asking = tables_.config.asking[field];
        for (std::size_t i = 0; i < rules_.size(); ++i)
            if (asks(rules_[i])) set(asking, i);
        return without(tables_.config.rules, asking);
    }

    PrefixRows prefixes(fw_field field, std::optional<Addresses> Rule::*condition)
    {
        const auto others = divide(field, [&](const Rule& rule) { return (rule.*condition).has_value(); });
        if (is_empty(tables_.config.asking[field])) return {};
        PrefixTable table;
        for (std::size_t i = 0; i < rules_.size(); ++i)
            if (const auto& addresses = rules_[i].*condition) table.add(i, *addresses);
        return table.finish(others);
    }

    /// A table of `count` rows; `add` sets the rule's bit where an element of its list wants it.
    template <class Element>
    void array(fw_field field, std::size_t count, std::vector<Element> Rule::*list,
               void (*add)(Rows&, std::size_t rule, const Element&))
    {
        const auto others = divide(field, [&](const Rule& rule) { return !(rule.*list).empty(); });
        if (is_empty(tables_.config.asking[field])) return;
        auto& rows = tables_.rows[field];
        rows.assign(count, others);
        for (std::size_t i = 0; i < rules_.size(); ++i)
            for (const auto& element : rules_[i].*list) add(rows, i, element);
    }

    void tcp_flags()
    {
        const auto others = divide(FW_TCP_FLAGS, [](const Rule& rule) { return rule.tcp_flags.has_value(); });
        if (is_empty(tables_.config.asking[FW_TCP_FLAGS])) return;
        auto& rows = tables_.rows[FW_TCP_FLAGS];
        rows.assign(FW_TCP_FLAGS_ROWS, others);
        for (std::size_t i = 0; i < rules_.size(); ++i)
            if (const auto& wanted = rules_[i].tcp_flags) add_flags(rows, i, *wanted);
    }

    static void add_flags(Rows& rows, std::size_t rule, const TcpFlags& wanted)
    {
        for (unsigned flags = 0; flags < FW_NO_TCP; ++flags)
            if ((flags & wanted.set) == wanted.set && !(flags & wanted.clear)) set(rows[flags], rule);
    }

    static void add_ports(Rows& rows, std::size_t rule, const PortRange& range)
    {
        for (std::size_t port = range.first; port <= range.last; ++port) set(rows[port], rule);
    }

    template <class Value>
    static void add_value(Rows& rows, std::size_t rule, const Value& value)
    {
        set(rows[value], rule);
    }

    static void add_icmp_type(Rows& rows, std::size_t rule, const IcmpType& type)
    {
        set(rows[(type.protocol == IPPROTO_ICMPV6 ? +FW_ICMPV6_ROW : 0) + type.type], rule);
    }

    const std::vector<Rule>& rules_;
    Tables tables_;
};

} // namespace

Tables compile(const std::vector<Rule>& rules)
{
    return Compiler{rules}.compile();
}

} // namespace evnf::fw
