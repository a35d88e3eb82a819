// SPDX-License-Identifier: MIT
#include "rule_book.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace evnf::fw {

namespace {

/// Shorter lists are not worth being looked for.
constexpr std::size_t kLongList = 16;

class Shelf {
public:
    explicit Shelf(const NamedSets& sets) : sets_{sets} {}

    AddressCondition keep(std::optional<Addresses> addresses)
    {
        if (!addresses) return nullptr;
        if (addresses->sets.empty() && addresses->prefixes.size() < kLongList) return make(std::move(*addresses));
        auto& similar = shared_[{addresses->sets, addresses->prefixes.size(), addresses->negated}];
        for (const auto& kept : similar)
            if (kept->addresses.prefixes == addresses->prefixes) return kept;
        similar.push_back(make(std::move(*addresses)));
        return similar.back();
    }

private:
    AddressCondition make(Addresses addresses) const
    {
        SharedAddresses shared{std::move(addresses), {}};
        for (const auto& name : shared.addresses.sets) shared.sets.push_back(sets_.at(name));
        return std::make_shared<const SharedAddresses>(std::move(shared));
    }

    const NamedSets& sets_;
    std::map<std::tuple<std::vector<std::string>, std::size_t, bool>, std::vector<AddressCondition>> shared_;
};

} // namespace

bool SharedAddresses::holds(const Address& address) const
{
    const auto& prefixes = addresses.prefixes;
    const auto is_in = [&](const Prefix& prefix) { return prefix.is_v4() == address.is_v4() && prefix.contains(address); };
    const bool found = std::any_of(prefixes.begin(), prefixes.end(), is_in) ||
                       std::any_of(sets.begin(), sets.end(), [&](const auto& set) { return set->contains(address); });
    return found != addresses.negated;
}

std::vector<Prefix> SharedAddresses::prefixes() const
{
    auto all = addresses.prefixes;
    all.reserve(size());
    for (const auto& set : sets) set->for_each([&](const Prefix& prefix) { all.push_back(prefix); });
    return all;
}

std::size_t SharedAddresses::size() const
{
    std::size_t sum = addresses.prefixes.size();
    for (const auto& set : sets) sum += set->size();
    return sum;
}

RuleBook make_rule_book(Policy policy, PortNames ports, const NamedSets& sets)
{
    RuleBook book{{}, policy.fallback, std::move(ports), policy.asks_state()};
    Shelf shelf{sets};
    for (auto& rule : policy.rules) {
        auto src = shelf.keep(std::exchange(rule.src, std::nullopt));
        auto dst = shelf.keep(std::exchange(rule.dst, std::nullopt));
        book.rules.push_back({std::move(rule), std::move(src), std::move(dst)});
    }
    return book;
}

PortNames port_names(const Ports& ports)
{
    PortNames names;
    for (int index = 0; index < EVNF_MAX_PORTS; ++index) names.emplace_back(ports.name(index));
    return names;
}

} // namespace evnf::fw
