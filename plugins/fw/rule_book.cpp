// SPDX-License-Identifier: MIT
#include "rule_book.hpp"

#include <map>
#include <utility>

namespace evnf::fw {

namespace {

/// Shorter lists are not worth being looked for.
constexpr std::size_t kLongList = 16;

class Shelf {
public:
    explicit Shelf(const Sets& sets) : sets_{sets} {}

    AddressCondition keep(std::optional<Addresses> addresses)
    {
        if (!addresses) return nullptr;
        if (addresses->prefixes.size() < kLongList) return make(std::move(*addresses));
        auto& similar = long_[{addresses->prefixes.size(), addresses->negated}];
        for (const auto& kept : similar)
            if (kept->addresses.prefixes == addresses->prefixes) return kept;
        similar.push_back(make(std::move(*addresses)));
        return similar.back();
    }

private:
    AddressCondition make(Addresses addresses) const
    {
        SharedAddresses shared{std::move(addresses), {}};
        for (const auto& [name, prefixes] : sets_)
            if (prefixes == shared.addresses.prefixes) shared.set = name;
        return std::make_shared<const SharedAddresses>(std::move(shared));
    }

    const Sets& sets_;
    std::map<std::pair<std::size_t, bool>, std::vector<AddressCondition>> long_;
};

} // namespace

RuleBook make_rule_book(Policy policy, PortNames ports)
{
    RuleBook book{{}, policy.fallback, std::move(ports), policy.asks_state()};
    Shelf shelf{policy.sets};
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
