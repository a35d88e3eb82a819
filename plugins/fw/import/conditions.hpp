// SPDX-License-Identifier: MIT
/// What packets a rule is about: a set for each field, so that any conjunction of rules is one of these again.
///
/// They speak of packets that are no fragments: those are netfilter's, which may put them together before it looks.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "interval_set.hpp"

namespace evnf::fw::iptables {

enum class Family { v4, v6 };

/// An IPv4 address is its 32 bits.
__extension__ using AddressValue = unsigned __int128;
using AddressSet = IntervalSet<AddressValue>;
using NumberSet = IntervalSet<std::uint32_t>;
/// Nothing: any name will do.
using NameSet = std::optional<std::set<std::string>>;

AddressSet all_addresses(Family family);
NameSet names_in_both(const NameSet& a, const NameSet& b);

inline constexpr std::uint32_t kMaxPort = 65535, kMaxProtocol = 255, kMaxDscp = 63;
inline constexpr std::uint32_t kMaxIcmp = 65535; ///< the type in the upper byte, the code in the lower
/// Connection states, by their numbers in a set.
inline constexpr const char* kStates[] = {"new", "established", "related", "invalid"};
inline constexpr std::uint32_t kMaxState = 3;

struct Conditions {
    explicit Conditions(Family family) : src{all_addresses(family)}, dst{src} {}

    AddressSet src, dst;
    NumberSet sport = NumberSet::all(kMaxPort), dport = sport;
    NumberSet protocols = NumberSet::all(kMaxProtocol);
    NumberSet icmp = NumberSet::all(kMaxIcmp);
    NumberSet dscps = NumberSet::all(kMaxDscp);
    NumberSet states = NumberSet::all(kMaxState);
    std::uint8_t flags_set = 0, flags_clear = 0; ///< of TCP
    NameSet in_ports, macs;

    /// True where no packet can meet all of them.
    bool empty() const;
    /// True where some packet may meet both.
    bool meets(const Conditions& other) const;
    /// True where all packets that meet these meet the others, too.
    bool is_within(const Conditions& other) const;
    /// True where every packet of the family that is no fragment meets them.
    bool is_all() const;
    bool operator==(const Conditions&) const = default;
};

/// What both ask for.
Conditions operator&(const Conditions& a, const Conditions& b);

/// Packets that meet one of them or more.
using Alternatives = std::vector<Conditions>;

/// What both ask for, without alternatives that no packet can meet.
Alternatives operator&(const Alternatives& a, const Alternatives& b);

} // namespace evnf::fw::iptables
