// SPDX-License-Identifier: MIT
/// What a named set holds: the configuration's prefixes, and what was changed since. Knows no kernel.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <evnf/address.hpp>

namespace evnf::fw {

/// (configured ∪ added) \ deleted. `added` has none that are configured, `deleted` none that are not.
class LiveSet {
public:
    LiveSet() = default;
    explicit LiveSet(std::vector<Prefix> configured);

    /// Whether the prefix itself is a member.
    bool has(const Prefix& prefix) const;
    /// A member that the prefix lies in, other than itself: the longest.
    std::optional<Prefix> covering(const Prefix& prefix) const;
    bool contains(const Address& address) const;

    /// What is no member, and what is one.
    void add(const Prefix& prefix);
    void erase(const Prefix& prefix);
    /// Makes the changes that there is still something to be changed by, and gives the others.
    std::vector<Prefix> change(std::vector<Prefix> added, std::vector<Prefix> deleted);

    /// Members in order, IPv6 prefixes before and after the IPv4 ones.
    template <class Visit>
    void for_each(Visit visit) const
    {
        for_each_in(configured_.begin(), configured_.end(), added_.begin(), added_.end(), visit);
    }
    /// Members that lie in the prefix, without itself.
    std::vector<Prefix> inside(const Prefix& prefix) const;
    /// No fewer than inside() gives.
    std::size_t count_inside(const Prefix& prefix) const;

    std::size_t size(bool v4) const { return v4 ? v4_ : size() - v4_; }
    std::size_t size() const { return configured_.size() + added_.size() - deleted_.size(); }
    const std::vector<Prefix>& configured() const { return configured_; }
    const std::set<Prefix>& added() const { return added_; }
    const std::set<Prefix>& deleted() const { return deleted_; }
    std::size_t bytes() const;

private:
    using Configured = std::vector<Prefix>::const_iterator;
    using Added = std::set<Prefix>::const_iterator;

    bool is_configured(const Prefix& prefix) const;
    std::optional<Prefix> longest(const Address& address, unsigned from, unsigned below) const;
    void count(const Prefix& prefix, int change);

    template <class Visit>
    void for_each_in(Configured configured, Configured configured_end, Added added, Added added_end, Visit visit) const
    {
        while (configured != configured_end || added != added_end) {
            const bool is_added = configured == configured_end || (added != added_end && *added < *configured);
            const Prefix& prefix = is_added ? *added++ : *configured++;
            if (is_added || deleted_.empty() || !deleted_.contains(prefix)) visit(prefix);
        }
    }

    std::vector<Prefix> configured_; ///< sorted, each once
    std::set<Prefix> added_, deleted_;
    std::size_t v4_ = 0;
    std::array<std::array<std::size_t, 129>, 2> lengths_{}; ///< members by family and length
};

/// By name. Rules that are asked about share what they refer to.
using NamedSets = std::map<std::string, std::shared_ptr<LiveSet>, std::less<>>;

} // namespace evnf::fw
