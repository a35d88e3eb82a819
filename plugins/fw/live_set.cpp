// SPDX-License-Identifier: MIT
#include "live_set.hpp"

#include <algorithm>

#include "addresses.hpp"

namespace evnf::fw {

namespace {

/// What a node of std::set takes beside the element.
constexpr std::size_t kNodeBytes = 40;

Address first_bits(const Address& address, unsigned length)
{
    return length == 0 ? Address{} : address_of(number_of(address) >> (128 - length) << (128 - length));
}

/// The last prefix in order that lies in this one.
Prefix last_in(const Prefix& prefix)
{
    const auto host_bits = prefix.length == 0 ? ~Number128{0} : ~(~Number128{0} << (128 - prefix.length));
    return {address_of(number_of(prefix.address) | host_bits), 128};
}

} // namespace

LiveSet::LiveSet(std::vector<Prefix> configured) : configured_{std::move(configured)}
{
    if (!std::is_sorted(configured_.begin(), configured_.end())) std::sort(configured_.begin(), configured_.end());
    configured_.erase(std::unique(configured_.begin(), configured_.end()), configured_.end());
    for (const auto& prefix : configured_) count(prefix, 1);
}

void LiveSet::count(const Prefix& prefix, int change)
{
    const bool v4 = prefix.is_v4();
    lengths_[v4][prefix.length] += static_cast<std::size_t>(change);
    if (v4) v4_ += static_cast<std::size_t>(change);
}

bool LiveSet::is_configured(const Prefix& prefix) const
{
    return std::binary_search(configured_.begin(), configured_.end(), prefix);
}

bool LiveSet::has(const Prefix& prefix) const
{
    return added_.contains(prefix) || (is_configured(prefix) && !deleted_.contains(prefix));
}

std::optional<Prefix> LiveSet::longest(const Address& address, unsigned from, unsigned below) const
{
    const bool v4 = Prefix{address, 128}.is_v4() && below > 96;
    for (unsigned length = below; length-- > from;) {
        if (!lengths_[v4][length]) continue;
        const Prefix candidate{first_bits(address, length), static_cast<std::uint8_t>(length)};
        if (candidate.is_v4() == v4 && has(candidate)) return candidate;
    }
    return std::nullopt;
}

std::optional<Prefix> LiveSet::covering(const Prefix& prefix) const
{
    return longest(prefix.address, prefix.is_v4() ? 96 : 0, prefix.length);
}

bool LiveSet::contains(const Address& address) const
{
    return longest(address, address.is_v4() ? 96 : 0, 129).has_value();
}

void LiveSet::add(const Prefix& prefix)
{
    if (deleted_.erase(prefix) == 0) added_.insert(prefix);
    count(prefix, 1);
}

void LiveSet::erase(const Prefix& prefix)
{
    if (added_.erase(prefix) == 0) deleted_.insert(prefix);
    count(prefix, -1);
}

std::vector<Prefix> LiveSet::change(std::vector<Prefix> added, std::vector<Prefix> deleted)
{
    std::vector<Prefix> without_effect;
    // In order: a million of them at random places of a tree take seconds.
    std::sort(added.begin(), added.end());
    std::sort(deleted.begin(), deleted.end());
    for (const auto& prefix : added) has(prefix) ? without_effect.push_back(prefix) : add(prefix);
    for (const auto& prefix : deleted) has(prefix) ? erase(prefix) : without_effect.push_back(prefix);
    return without_effect;
}

std::vector<Prefix> LiveSet::inside(const Prefix& prefix) const
{
    std::vector<Prefix> result;
    const auto last = last_in(prefix);
    for_each_in(std::upper_bound(configured_.begin(), configured_.end(), prefix), std::upper_bound(configured_.begin(), configured_.end(), last),
                added_.upper_bound(prefix), added_.upper_bound(last), [&](const Prefix& member) {
                    if (member.is_v4() == prefix.is_v4()) result.push_back(member);
                });
    return result;
}

std::size_t LiveSet::count_inside(const Prefix& prefix) const
{
    const auto last = last_in(prefix);
    const auto configured = std::upper_bound(configured_.begin(), configured_.end(), last) - std::upper_bound(configured_.begin(), configured_.end(), prefix);
    return static_cast<std::size_t>(configured + std::distance(added_.upper_bound(prefix), added_.upper_bound(last)));
}

std::size_t LiveSet::bytes() const
{
    return configured_.capacity() * sizeof(Prefix) + (added_.size() + deleted_.size()) * (sizeof(Prefix) + kNodeBytes);
}

} // namespace evnf::fw
