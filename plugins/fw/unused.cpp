// SPDX-License-Identifier: MIT
#include "unused.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <set>

#include "region.hpp"

namespace evnf::fw {

namespace {

constexpr std::size_t kMostPairs = 2'000'000; ///< of rules compared in full
constexpr std::size_t kCells = 64;
constexpr std::size_t kLevels = 4;
constexpr std::size_t kMostRanges = 64;

/// A bit a rule.
using Row = std::vector<std::uint64_t>;

/// The rules by one number that packets have: which of them match packets with a number that falls into a cell.
class Field {
public:
    explicit Field(std::size_t rules) : any_((rules + 63) / 64), cells_(kCells, any_) {}

    /// The rule matches such numbers, shifted to the right.
    template <class Number>
    void add(std::size_t rule, const Ranges<Number>& ranges, unsigned shift)
    {
        Number count = 0;
        for (const auto& [first, last] : ranges) {
            const auto in_range = static_cast<Number>((last >> shift) - (first >> shift));
            if (in_range >= kCells || count >= kCells || ranges.size() > kMostRanges) return add_any(rule);
            count = static_cast<Number>(count + in_range + 1);
        }
        for (const auto& [first, last] : ranges)
            for (Number number = first >> shift;; ++number) {
                set(cells_[cell(static_cast<std::uint64_t>(number))], rule);
                if (number == last >> shift) break;
            }
    }
    template <class Value>
    void add(std::size_t rule, const std::vector<Value>& values)
    {
        if (values.empty()) add_any(rule);
        for (const auto value : values) set(cells_[cell(value)], rule);
    }
    void add_any(std::size_t rule) { set(any_, rule); }

    /// Leaves only rules that match packets with this number, and perhaps others.
    void narrow(Row& row, std::size_t words, std::uint64_t number) const
    {
        const auto& members = cells_[cell(number)];
        for (std::size_t i = 0; i < words; ++i) row[i] &= members[i] | any_[i];
    }

private:
    static std::size_t cell(std::uint64_t number) { return number * 0x9e3779b97f4a7c15ull >> 58; }
    static void set(Row& row, std::size_t rule) { row[rule / 64] |= std::uint64_t{1} << rule % 64; }

    Row any_;
    std::vector<Row> cells_;
};

/// An address as fields: the whole of it and its leading parts.
class AddressFields {
public:
    explicit AddressFields(std::size_t rules) : v4_(kLevels, Field{rules}), v6_(kLevels, Field{rules}) {}

    void add(std::size_t rule, const AddressRanges& ranges)
    {
        for (std::size_t level = 0; level < kLevels; ++level) {
            if (ranges.known) {
                v4_[level].add(rule, ranges.v4, kShifts4[level]);
                v6_[level].add(rule, ranges.v6, kShifts6[level]);
            } else {
                v4_[level].add_any(rule);
                v6_[level].add_any(rule);
            }
        }
    }

    /// By the first address of the ranges.
    void narrow(Row& row, std::size_t words, const AddressRanges& ranges, fw_family family) const
    {
        if (!ranges.known) return;
        for (std::size_t level = 0; level < kLevels; ++level)
            if (family == FW_V4)
                v4_[level].narrow(row, words, ranges.v4.front().first >> kShifts4[level]);
            else
                v6_[level].narrow(row, words, static_cast<std::uint64_t>(ranges.v6.front().first >> kShifts6[level]));
    }

private:
    static constexpr std::array<unsigned, kLevels> kShifts4{0, 8, 16, 24}, kShifts6{0, 64, 80, 96};
    std::vector<Field> v4_, v6_;
};

/// Which rules may contain another: those that match one packet that it matches. The packet is looked up field by field, for
/// all rules at once, so that few pairs of rules are compared in full.
class Candidates {
public:
    explicit Candidates(std::size_t rules)
        : src_{rules}, dst_{rules}, sport_{rules}, dport_{rules}, protocol_{rules}, mac_{rules}, vlan_{rules}, row_((rules + 63) / 64)
    {
    }

    void add(std::size_t rule, const Region& region)
    {
        src_.add(rule, *region.src);
        dst_.add(rule, *region.dst);
        sport_.add(rule, region.sport, 0);
        dport_.add(rule, region.dport, 0);
        const auto protocols = region.protocols[FW_V4] | region.protocols[FW_V6];
        std::vector<std::size_t> numbers;
        if (!protocols.all())
            for (auto protocol = protocols._Find_first(); protocol < protocols.size(); protocol = protocols._Find_next(protocol))
                numbers.push_back(protocol);
        protocol_.add(rule, numbers);
        mac_.add(rule, region.macs);
        vlan_.add(rule, region.vlans);
    }

    /// Calls `visit(candidate)` for those before `rule`, in order, until one gives true.
    template <class Visit>
    void find(std::size_t rule, const Region& region, Visit visit)
    {
        const auto family = region.may_match(FW_V4) ? FW_V4 : FW_V6;
        const auto words = rule / 64 + 1;
        std::fill_n(row_.begin(), words, ~std::uint64_t{0});
        row_[rule / 64] = (std::uint64_t{1} << rule % 64) - 1;
        src_.narrow(row_, words, *region.src, family);
        dst_.narrow(row_, words, *region.dst, family);
        sport_.narrow(row_, words, region.sport.front().first);
        dport_.narrow(row_, words, region.dport.front().first);
        protocol_.narrow(row_, words, region.protocols[family]._Find_first());
        if (!region.macs.empty()) mac_.narrow(row_, words, region.macs.front());
        if (!region.vlans.empty()) vlan_.narrow(row_, words, region.vlans.front());
        for (std::size_t word = 0; word < words; ++word)
            for (auto left = row_[word]; left; left &= left - 1)
                if (visit(word * 64 + static_cast<std::size_t>(std::countr_zero(left)))) return;
    }

private:
    AddressFields src_, dst_;
    Field sport_, dport_, protocol_, mac_, vlan_;
    Row row_;
};

} // namespace

std::vector<Unreachable> unreachable_rules(const RuleBook& book)
{
    const auto count = book.rules.size();
    std::vector<Unreachable> result;
    std::vector<Region> regions;
    RegionMaker maker{book.tracks};
    Containment containment;
    Candidates candidates{count};
    std::size_t pairs = 0;
    for (std::size_t rule = 0; rule < count; ++rule) {
        const auto& region = regions.emplace_back(maker.make(book.rules[rule]));
        if (!region.may_match()) {
            result.push_back({rule, std::nullopt});
            continue;
        }
        candidates.find(rule, region, [&](std::size_t earlier) {
            if (++pairs > kMostPairs) return true;
            if (!containment.contains(regions[earlier], region)) return false;
            result.push_back({rule, earlier});
            return true;
        });
        if (!book.rules[rule].rule.limit) candidates.add(rule, region); // else it lets pass what is over the limit
    }
    return result;
}

bool is_quickly_searched(const RuleBook& book)
{
    constexpr std::size_t most_rules = 4096, most_prefixes = 200'000;
    std::set<const SharedAddresses*> seen;
    std::size_t prefixes = 0;
    for (const auto& rule : book.rules)
        for (const auto* condition : {rule.src.get(), rule.dst.get()})
            if (condition && seen.insert(condition).second) prefixes += condition->size();
    return book.rules.size() <= most_rules && prefixes <= most_prefixes;
}

} // namespace evnf::fw
