// SPDX-License-Identifier: MIT
/// A rule as the set of packets that it matches, so that rules can be compared.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "ranges.hpp"
#include "rule_book.hpp"

namespace evnf::fw {

/// What a condition on addresses holds for. Not known where the list was too long to be looked at: then it contains
/// itself, and nothing else is said of it.
struct AddressRanges {
    Ranges<std::uint32_t> v4;
    Ranges<Number128> v6;
    bool known = true;

    bool may_have(fw_family family) const { return !known || (family == FW_V4 ? !v4.empty() : !v6.empty()); }
};

/// A product of sets, for each family one, since both addresses are of one family. Sets without a condition are full.
struct Region {
    std::shared_ptr<const AddressRanges> src, dst;
    std::array<std::bitset<256>, FW_FAMILIES> protocols;
    Ranges<std::uint16_t> sport, dport;
    std::array<Ranges<std::uint16_t>, FW_FAMILIES> icmp; ///< type << 8 | code
    TcpFlags flags;
    std::uint8_t fragments = 0, states = 0;
    std::uint64_t dscps = 0, in_ports = 0;
    std::vector<std::uint16_t> vlans, inner_vlans; ///< sorted; empty: any, and packets without such a tag
    std::vector<std::uint64_t> macs;               ///< sorted; empty: any

    /// False where no packet of the family matches.
    bool may_match(fw_family family) const;
    bool may_match() const { return may_match(FW_V4) || may_match(FW_V6); }
};

/// Makes regions; conditions on addresses that rules share are read once.
class RegionMaker {
public:
    /// `tracks`: connections are tracked, so that later fragments may have the ports of their first.
    explicit RegionMaker(bool tracks) : tracks_{tracks} {}
    Region make(const BookRule& rule);

private:
    std::shared_ptr<const AddressRanges> addresses(const AddressCondition& condition);

    std::map<const SharedAddresses*, std::shared_ptr<const AddressRanges>> known_;
    std::size_t prefixes_ = 0; ///< read so far
    bool tracks_;
};

/// Says which regions contain others, with an effort that is bounded over its life.
class Containment {
public:
    /// True where every packet of `part` is in `whole`. Where it would be too much to look at, false.
    bool contains(const Region& whole, const Region& part);

private:
    bool contains(const Region& whole, const Region& part, fw_family family);
    bool contains(const AddressRanges& whole, const AddressRanges& part, fw_family family);
    template <class Number>
    bool contains(const AddressRanges* whole, const AddressRanges* part, Ranges<Number> AddressRanges::*family);

    std::map<std::pair<const void*, const void*>, bool> known_; ///< of long lists
    std::size_t steps_ = 0;
};

} // namespace evnf::fw
