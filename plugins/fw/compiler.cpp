// SPDX-License-Identifier: MIT
#include "compiler.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <unordered_map>

#include "address_blocks.hpp"
#include "address_classes.hpp"
#include "buckets.hpp"
#include "matches.hpp"
#include "rows.hpp"

namespace evnf::fw {

namespace {

constexpr int kMostAttempts = 8;
/// Of entries that differ in nothing that is hashed.
constexpr std::size_t kLongestList = 256;

/// How shapes are made fewer: less to search in, for more matches to look at in each list.
struct Coarseness {
    std::size_t bands;       ///< of rules: more of them end a search earlier
    unsigned step;           ///< prefix lengths are rounded down to multiples of it
    std::size_t most_tuples;
};
/// A packet costs some 5 ns for each word of rows and 25 ns for each tuple that is looked into: of structured rules, 10,000
/// in number, these are nearly the cheapest.
constexpr Coarseness kTried[] = {
    {16, 1, 400}, {16, 4, 400}, {8, 8, 1280}, {4, 16, 1280}, {4, 32, 1280}, {1, 16, FW_MAX_TUPLES}, {1, 32, FW_MAX_TUPLES}, {1, 128, FW_MAX_TUPLES},
};
constexpr std::size_t kSmallestBand = 256; ///< in rules

Shape coarse(Shape shape, const fw_entry& entry, fw_family family, std::size_t rules, const Coarseness& coarseness)
{
    const unsigned base = family == FW_V4 ? 96 : 0;
    const auto rounded = [&](unsigned length) { return static_cast<std::uint8_t>(base + (length - base) / coarseness.step * coarseness.step); };
    const auto band = std::max(kSmallestBand, (rules + coarseness.bands - 1) / coarseness.bands);
    shape.src = rounded(shape.src);
    shape.dst = rounded(shape.dst);
    shape.band = static_cast<std::uint8_t>(entry.rule / band);
    return shape;
}

void limit_shapes(std::vector<Match>& matches, fw_family family, std::size_t rules)
{
    for (const auto& coarseness : kTried) {
        std::set<Shape> shapes;
        for (const auto& match : matches) shapes.insert(coarse(match.shape, match.entry, family, rules, coarseness));
        if (shapes.size() > coarseness.most_tuples) continue;
        for (auto& match : matches) match.shape = coarse(match.shape, match.entry, family, rules, coarseness);
        return;
    }
    throw std::length_error{fmt::format("the rules are of more than {} different shapes", +FW_MAX_TUPLES)};
}

/// The tuple of each match. Tuples are numbered in the order of their first rules, as matches come.
std::vector<std::uint32_t> number_tuples(const std::vector<Match>& matches, std::vector<fw_tuple>& tuples)
{
    std::map<Shape, std::uint32_t> numbers;
    std::vector<std::uint32_t> of;
    for (const auto& match : matches) {
        const auto [found, is_new] = numbers.try_emplace(match.shape, static_cast<std::uint32_t>(numbers.size()));
        if (is_new) tuples.push_back({mask_of(match.shape), 0, match.entry.rule, 0});
        of.push_back(found->second);
    }
    return of;
}

/// Of a packet's traits, those that the matches ask about.
fw_traits asked_traits(const Matches& matches)
{
    std::uint32_t conditions = 0;
    for (const auto& of_family : matches.of)
        for (const auto& match : of_family) conditions |= match.entry.conditions;
    const auto asks = [&](std::uint32_t condition) { return conditions & condition ? ~0u : 0u; };
    fw_traits asked{};
    asked.inner_vlan = static_cast<std::uint16_t>(asks(FW_IF_INNER_VLAN));
    asked.in_port = static_cast<std::uint8_t>(asks(FW_IF_IN_PORT));
    asked.dscp = static_cast<std::uint8_t>(asks(FW_IF_DSCP));
    asked.tcp_flags = static_cast<std::uint8_t>(asks(FW_IF_FLAGS));
    asked.icmp_type = static_cast<std::uint8_t>(asks(FW_IF_ICMP_TYPE));
    asked.icmp_code = static_cast<std::uint8_t>(asks(FW_IF_ICMP_CODE));
    asked.others = static_cast<std::uint8_t>(0b11 | (asks(FW_IF_FRAGMENT) & 0b111) << 2 | (asks(FW_IF_STATE) & 0b111) << 5);
    return asked;
}

class Compiler {
public:
    explicit Compiler(const std::vector<Rule>& rules) : matches_{take_apart(rules)}
    {
        tables_.config.rules = static_cast<std::uint32_t>(rules.size());
        for (const auto& rule : rules) {
            tables_.config.asks_mac |= !rule.macs.empty();
            tables_.config.asks_state |= rule.states.has_value();
        }
    }

    Tables compile()
    {
        tables_.sets = matches_.sets;
        tables_.config.asked_traits = asked_traits(matches_);
        if (are_few()) return few();
        tables_.protocols.resize(FW_PROTOCOL_ROWS);
        for (const auto family : {FW_V4, FW_V6}) {
            auto& matches = matches_.of[family];
            auto& config = tables_.config;
            limit_shapes(matches, family, config.rules);
            config.first_tuple[family] = static_cast<std::uint32_t>(tables_.tuples.size());
            tuple_of_[family] = number_tuples(matches, tables_.tuples);
            for (auto tuple = config.first_tuple[family]; tuple < tables_.tuples.size(); tuple += 64)
                config.first_rules[family][(tuple - config.first_tuple[family]) / 64] = tables_.tuples[tuple].first_rule;
            addresses(family, FW_SRC);
            addresses(family, FW_DST);
            protocols(family);
        }
        ports();
        tables_.rows = rows_.take_rows();
        tables_.groups = rows_.take_groups();
        lists();
        return std::move(tables_);
    }

private:
    bool are_few() const
    {
        const auto& [v4, v6] = matches_.of;
        return v4.size() <= FW_FEW && v6.size() <= FW_FEW && matches_.groups[FW_SRC].empty() && matches_.groups[FW_DST].empty();
    }

    Tables few()
    {
        tables_.config.few = 1;
        for (const auto family : {FW_V4, FW_V6}) {
            tables_.config.few_first[family] = static_cast<std::uint32_t>(tables_.entries.size());
            tables_.config.few_count[family] = static_cast<std::uint32_t>(matches_.of[family].size());
            for (const auto& match : matches_.of[family]) tables_.entries.push_back(match.entry);
        }
        return std::move(tables_);
    }

    void addresses(fw_family family, fw_side side)
    {
        const auto& matches = matches_.of[family];
        const unsigned base = family == FW_V4 ? 96 : 0;
        const std::uint32_t in_group = side == FW_SRC ? FW_IF_SRC_GROUP : FW_IF_DST_GROUP;
        std::vector<AddressUse> uses;
        bool asked = false;
        for (std::size_t i = 0; i < matches.size(); ++i) {
            const auto& [entry, src, dst, shape] = matches[i];
            AddressUse use{side == FW_SRC ? src : dst, -1, false, tuple_of_[family][i]};
            if (entry.conditions & in_group) {
                use.group = side == FW_SRC ? entry.src_group : entry.dst_group;
                use.negated = entry.conditions & (side == FW_SRC ? FW_SRC_NOT_IN_GROUP : FW_DST_NOT_IN_GROUP);
            }
            asked |= use.group >= 0 || use.prefix.length > base;
            uses.push_back(use);
        }
        if (!asked) return;
        tables_.config.asks_address[family] |= 1u << side;
        const auto runs = classify_addresses(family, std::move(uses), matches_.groups[side], rows_);
        add_blocks(tables_, family, side, runs);
    }

    void protocols(fw_family family)
    {
        const auto& matches = matches_.of[family];
        fw_row any{};
        std::vector<fw_row> rows(FW_PROTOCOL_ROWS);
        for (std::size_t i = 0; i < matches.size(); ++i) {
            const auto& entry = matches[i].entry;
            set(entry.conditions & FW_IF_PROTOCOL ? rows[entry.protocol] : any, tuple_of_[family][i]);
        }
        for (std::size_t protocol = 0; protocol < FW_PROTOCOL_ROWS; ++protocol)
            tables_.protocols[protocol].row[family] = rows_.index(rows[protocol] | any);
    }

    void ports()
    {
        std::vector<fw_port_rows> rows(FW_PORT_ROWS);
        for (const auto family : {FW_V4, FW_V6}) {
            ports(family, &fw_entry::sport_first, &fw_entry::sport_last,
                  [&](std::size_t port) -> std::uint32_t& { return rows[port].sport[family]; });
            ports(family, &fw_entry::dport_first, &fw_entry::dport_last,
                  [&](std::size_t port) -> std::uint32_t& { return rows[port].dport[family]; });
        }
        if (tables_.config.asks_ports) tables_.ports = std::move(rows);
    }

    /// Walks over all ports, with what begins and ends at each.
    template <class RowOf>
    void ports(fw_family family, std::uint16_t fw_entry::*first, std::uint16_t fw_entry::*last, RowOf row_of)
    {
        const auto& matches = matches_.of[family];
        std::vector<std::vector<std::pair<std::uint32_t, int>>> changes(FW_PORT_ROWS);
        fw_row any{};
        for (std::size_t i = 0; i < matches.size(); ++i) {
            const auto& entry = matches[i].entry;
            const auto tuple = tuple_of_[family][i];
            if (!(entry.conditions & FW_IF_PORTS)) {
                set(any, tuple);
                continue;
            }
            tables_.config.asks_ports = 1;
            changes[entry.*first].emplace_back(tuple, 1);
            changes[entry.*last + 1u].emplace_back(tuple, -1);
        }
        std::vector<int> holders(FW_MAX_TUPLES);
        fw_row row = any;
        std::uint32_t index = rows_.index(row);
        for (std::size_t port = 0; port < FW_NO_PORT; ++port) {
            for (const auto& [tuple, change] : changes[port]) {
                holders[tuple] += change;
                holders[tuple] ? set(row, tuple) : clear(row, tuple);
            }
            if (!changes[port].empty()) index = rows_.index(row | any);
            row_of(port) = index;
        }
        row_of(FW_NO_PORT) = rows_.index(any);
    }

    /// Entries in lists, and lists in buckets.
    void lists()
    {
        std::mt19937_64 random; // the same rules make the same tables
        // At 2 lists a bucket, one of 4200 gets more than 8.
        std::size_t count = 0;
        HashTable table;
        for (int attempt = 0; attempt < kMostAttempts && table.buckets.empty(); ++attempt) {
            for (auto& tuple : tables_.tuples) tuple.seed = random();
            auto placed = place_entries();
            if (attempt == 0) count = std::bit_ceil(count_lists(placed) / 2 + 1);
            table = make_hash_table(std::move(placed), count);
            if (attempt % 2) count *= 2;
        }
        if (table.buckets.empty()) throw std::length_error{"the rules do not fit into a hash table"};
        tables_.config.bucket_mask = static_cast<std::uint32_t>(table.buckets.size() - 1);
        tables_.buckets = std::move(table.buckets);
        tables_.entries = std::move(table.entries);
    }

    std::vector<PlacedEntry> place_entries() const
    {
        std::vector<PlacedEntry> placed;
        for (const auto family : {FW_V4, FW_V6})
            for (std::size_t i = 0; i < matches_.of[family].size(); ++i) {
                const auto& match = matches_.of[family][i];
                const auto key = key_of(match);
                const auto& tuple = tables_.tuples[tables_.config.first_tuple[family] + tuple_of_[family][i]];
                placed.push_back({fw_hash(&key, &tuple, family), family, &match.entry});
            }
        return placed;
    }

    static std::size_t count_lists(const std::vector<PlacedEntry>& placed)
    {
        std::unordered_map<std::uint64_t, std::size_t> lengths;
        for (const auto& one : placed)
            if (++lengths[one.hash] > kLongestList)
                throw std::length_error{fmt::format("more than {} rules differ only in what is not looked up at once (tcp_flags, icmp_type, dscp, "
                                                    "in_port, inner_vlan, sets)",
                                                    kLongestList)};
        return lengths.size();
    }

    Matches matches_;
    Rows rows_;
    std::array<std::vector<std::uint32_t>, FW_FAMILIES> tuple_of_; ///< by match, counted from the family's first
    Tables tables_;
};

} // namespace

Tables compile(const std::vector<Rule>& rules)
{
    return Compiler{rules}.compile();
}

} // namespace evnf::fw
