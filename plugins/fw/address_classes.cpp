// SPDX-License-Identifier: MIT
#include "address_classes.hpp"

#include <endian.h>

#include <algorithm>

namespace evnf::fw {

namespace {

/// What is said of a prefix; of those around it, too, once it is handed down.
struct Said {
    fw_row row{};
    std::uint64_t groups = 0;
};

struct Item {
    Prefix prefix;
    Said said;
};

Prefix all_of(fw_family family)
{
    return family == FW_V4 ? Prefix{*Address::parse("0.0.0.0"), 96} : Prefix{};
}

/// The first address after the prefix; false where there is none.
bool step_over(const Prefix& prefix, Address& next)
{
    next = prefix.address;
    if (prefix.length == 0) return false;
    for (int bit = prefix.length - 1; bit >= 0; --bit) {
        auto& byte = next.raw.bytes[bit / 8];
        const auto mask = static_cast<std::uint8_t>(0x80 >> bit % 8);
        byte ^= mask;
        if (byte & mask) return true; // no carry
    }
    return false;
}

class Cutter {
public:
    Cutter(fw_family family, const std::vector<AddressUse>& uses, const Groups& groups, Rows& rows) : family_{family}, rows_{rows}
    {
        items_.push_back({all_of(family), {}});
        for (std::size_t group = 0; group < groups.size(); ++group)
            for (const auto& prefix : groups[group])
                if (prefix.is_v4() == (family == FW_V4)) items_.push_back({prefix, {{}, std::uint64_t{1} << group}});
        in_group_.resize(groups.size());
        outside_.resize(groups.size());
        for (const auto& use : uses) {
            if (use.group >= 0)
                set((use.negated ? outside_ : in_group_)[static_cast<std::size_t>(use.group)], use.tuple);
            else {
                items_.push_back({use.prefix, {}});
                set(items_.back().said.row, use.tuple);
            }
        }
    }

    std::vector<Run> cut()
    {
        std::sort(items_.begin(), items_.end(), [](const Item& a, const Item& b) { return a.prefix < b.prefix; });
        for (const auto& item : items_) {
            while (!around_.empty() && !around_.back().prefix.contains(item.prefix)) leave();
            Said said = around_.empty() ? Said{} : around_.back().said;
            said.row |= item.said.row;
            said.groups |= item.said.groups;
            if (!around_.empty() && around_.back().prefix == item.prefix)
                around_.back().said = said;
            else
                around_.push_back({item.prefix, said});
            run(item.prefix.address, said);
        }
        while (!around_.empty()) leave();
        return std::move(runs_);
    }

private:
    /// After the innermost prefix, what is around it holds again.
    void leave()
    {
        const Prefix prefix = around_.back().prefix;
        around_.pop_back();
        Address next;
        if (!around_.empty() && step_over(prefix, next) && around_.front().prefix.contains(next)) run(next, around_.back().said);
    }

    void run(const Address& start, const Said& said)
    {
        fw_row row = said.row;
        for (std::size_t group = 0; group < in_group_.size(); ++group) row |= (said.groups >> group & 1 ? in_group_ : outside_)[group];
        const Run next{number(start), rows_.index(row, said.groups)};
        if (!runs_.empty() && runs_.back().start == next.start) runs_.pop_back();
        if (runs_.empty() || runs_.back().row != next.row) runs_.push_back(next);
    }

    AddressNumber number(const Address& address) const
    {
        if (family_ == FW_V4) return {0, be32toh(address.raw.words[3])};
        return {be64toh(address.raw.halves[0]), be64toh(address.raw.halves[1])};
    }

    fw_family family_;
    Rows& rows_;
    std::vector<Item> items_, around_;
    std::vector<fw_row> in_group_, outside_; ///< by group: the tuples that ask for addresses inside and outside
    std::vector<Run> runs_;
};

} // namespace

std::vector<Run> classify_addresses(fw_family family, std::vector<AddressUse> uses, const Groups& groups, Rows& rows)
{
    std::sort(uses.begin(), uses.end());
    uses.erase(std::unique(uses.begin(), uses.end()), uses.end());
    return Cutter{family, uses, groups, rows}.cut();
}

} // namespace evnf::fw
