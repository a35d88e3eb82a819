// SPDX-License-Identifier: MIT
#include "other_tables.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include "address_values.hpp"

namespace evnf::fw::iptables {

namespace {

/// Packets that must go to netfilter.
struct Kept {
    std::vector<Decision> always;
    std::vector<Decision> allowed; ///< where FORWARD lets them pass
};

/// Goes through one table.
class Effects {
public:
    Effects(const Table& table, const Scope& scope, Kept& kept) : scope_{scope.family, &table, scope.ports}, kept_{kept} {}

    void collect()
    {
        collect("PREROUTING", kept_.always);
        collect("FORWARD", kept_.allowed);
        collect("POSTROUTING", kept_.allowed);
    }

private:
    void collect(const char* name, std::vector<Decision>& to)
    {
        const Chain* chain = scope_.table->chain(name);
        if (!chain) return;
        for (const auto& rule : chain->rules) {
            const auto translation = read_rule(rule, scope_);
            if (!changes(translation)) continue;
            for (const auto& match : translation.matches) to.push_back({match, Verdict::netfilter, &rule});
        }
        if (chain->policy == "DROP") to.push_back({Conditions{scope_.family}, Verdict::netfilter, nullptr});
    }

    bool changes(const Translation& translation)
    {
        constexpr std::array<std::string_view, 6> logs{"LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "LED"};
        switch (translation.verdict) {
        case Verdict::allow:
        case Verdict::leave: return false;
        case Verdict::none: return !translation.target.empty() && std::find(logs.begin(), logs.end(), translation.target) == logs.end();
        case Verdict::jump:
        case Verdict::go: return changes(*scope_.table->chain(translation.target));
        default: return true;
        }
    }

    /// Whether any rule of the chain, or of those that it leads to, changes packets.
    bool changes(const Chain& chain)
    {
        if (!visited_.insert(&chain).second) return changing_.contains(&chain);
        for (const auto& rule : chain.rules)
            if (changes(read_rule(rule, scope_))) changing_.insert(&chain);
        return changing_.contains(&chain);
    }

    Scope scope_;
    Kept& kept_;
    std::set<const Chain*> visited_, changing_;
};

/// "10.0.0.5", "10.0.0.5-10.0.0.9", with ":80" or without; of IPv6 in brackets where there is a port.
std::optional<AddressSet> translated_to(std::string text, Family family)
{
    std::erase(text, '[');
    if (const auto bracket = text.find(']'); bracket != std::string::npos)
        text.erase(bracket);
    else if (family == Family::v4)
        text.erase(std::min(text.find(':'), text.size()));
    return text.find('/') == std::string::npos ? range_of(text, family) : network_of(text, family);
}

/// The answers of translated connections must be translated back.
void keep_answers(const Table& nat, const Scope& scope, Kept& kept)
{
    for (const auto& chain : nat.chains)
        for (const auto& rule : chain.rules)
            for (std::size_t i = 0; i + 1 < rule.words.size(); ++i) {
                const auto& option = rule.words[i].text;
                if (option != "--to-source" && option != "--to-destination" && option != "--to") continue;
                const auto addresses = translated_to(rule.words[i + 1].text, scope.family);
                if (!addresses) continue;
                Conditions from{scope.family}, to{scope.family};
                from.src = *addresses;
                to.dst = *addresses;
                if (option != "--to-source") kept.allowed.push_back({from, Verdict::netfilter, &rule});
                if (option != "--to-destination") kept.always.push_back({to, Verdict::netfilter, &rule});
            }
}

/// Before each decision that allows, what of it goes to netfilter.
std::vector<Decision> with_kept(const std::vector<Decision>& decisions, const std::vector<Decision>& kept)
{
    std::vector<Decision> all;
    for (const auto& decision : decisions) {
        bool whole = false;
        for (auto other = kept.begin(); decision.verdict == Verdict::allow && other != kept.end() && !whole; ++other) {
            const auto both = decision.conditions & other->conditions;
            whole = both == decision.conditions;
            if (!both.empty()) all.push_back({both, Verdict::netfilter, other->rule});
        }
        if (!whole) all.push_back(decision);
    }
    return all;
}

bool is_everything(const Decision& decision)
{
    return decision.verdict == Verdict::netfilter && decision.conditions.is_all();
}

} // namespace

void keep_for_other_tables(Flattened& flattened, const std::vector<Table>& tables, const Scope& scope)
{
    Kept kept;
    for (const auto& table : tables) {
        if (&table == scope.table) continue;
        Effects{table, scope, kept}.collect();
        if (table.name == "nat") keep_answers(table, scope, kept);
    }
    auto decisions = with_kept(flattened.decisions, kept.allowed);
    if (decisions.size() + kept.always.size() > kMostDecisions) {
        decisions = std::move(flattened.decisions);
        std::move(kept.allowed.begin(), kept.allowed.end(), std::back_inserter(kept.always));
    }
    decisions.insert(decisions.begin(), kept.always.begin(), kept.always.end());
    const auto end = std::find_if(decisions.begin(), decisions.end(), is_everything);
    if (static_cast<std::size_t>(end - decisions.begin()) < kept.always.size()) flattened.reached.clear();
    flattened.complete = end == decisions.end();
    if (!flattened.complete) decisions.erase(end + 1, decisions.end());
    flattened.decisions = std::move(decisions);
}

} // namespace evnf::fw::iptables
