// SPDX-License-Identifier: MIT
#include "flattener.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace evnf::fw::iptables {

namespace {

constexpr const char* kBaseChain = "FORWARD";
/// Comparisons: paths through the chains may multiply without giving decisions.
constexpr std::size_t kMostSteps = 20'000'000;

using Translations = std::map<const SavedRule*, Translation>;

/// Where packets go on after a chain: behind the jump to it, then behind the jump to that chain, …, then to the policy.
struct Place {
    const Chain* chain;
    std::size_t next; ///< index of a rule
    const Place* caller;
};

/// A jump costs more than its share.
struct TooMany {};

/// Collects the chains that a chain leads to.
class Followed {
public:
    Followed(const Scope& scope, const Translations& translations) : scope_{scope}, translations_{translations} {}

    void follow(const Chain& chain)
    {
        if (std::find(path_.begin(), path_.end(), &chain) != path_.end())
            throw FileError{0, fmt::format("chain {} jumps to itself, by other chains or at once", chain.name)};
        if (!chains.insert(&chain).second) return;
        path_.push_back(&chain);
        for (const auto& rule : chain.rules)
            if (const auto* target = scope_.table->chain(translations_.at(&rule).target)) follow(*target);
        path_.pop_back();
    }

    std::set<const Chain*> chains;

private:
    const Scope& scope_;
    const Translations& translations_;
    std::vector<const Chain*> path_;
};

class Flattener {
public:
    Flattener(const Scope& scope, const Translations& translations, std::size_t most)
        : scope_{scope}, translations_{translations}, most_{most}, base_{*scope.table->chain(kBaseChain)}
    {
        for (const auto& rule : base_.rules) needed_ += translations_.at(&rule).matches.size();
        if (needed_ > most_) throw FileError{0, fmt::format("gives more than {} rules", most_)};
    }

    Flattened flatten()
    {
        const Conditions all{scope_.family};
        if (!run({&base_, 0, nullptr}, all)) decide_policy(all);
        result_.complete = result_.decisions.back().verdict != Verdict::netfilter || !result_.decisions.back().conditions.is_all();
        return std::move(result_);
    }

private:
    /// Emits what the chain decides about packets that meet `conditions`, from its rule `at.next` on. True where it
    /// decides about all of them; else the others are left to what is emitted next.
    bool run(const Place& from, const Conditions& conditions)
    {
        ++depth_;
        const bool all_decided = run_rules(from, conditions);
        --depth_;
        return all_decided;
    }

    bool run_rules(Place at, const Conditions& conditions)
    {
        while (at.next < at.chain->rules.size()) {
            const auto& rule = at.chain->rules[at.next++];
            result_.reached.insert(&rule);
            const auto& translation = translations_.at(&rule);
            const bool stays = note(rule, translation);
            for (const auto& match : translation.matches) {
                if (depth_ == 1) --needed_;
                count_steps(1);
                if (!conditions.meets(match)) continue;
                const auto both = conditions & match;
                const bool whole = both == conditions;
                if (is_settled(both)) {
                    if (whole) return true;
                    continue;
                }
                if (!stays && whole && translation.verdict == Verdict::leave) return false;
                if (!stays && whole && translation.verdict == Verdict::go && depth_ > 1) return run({target_of(translation), 0, at.caller}, both);
                const bool decided = depth_ == 1 && !stays && is_jump(translation) ? apply_or_refuse(rule, translation, at, both)
                                                                                   : apply(rule, translation, at, both, stays);
                if (decided && whole) return true;
            }
        }
        return false;
    }

    static bool is_jump(const Translation& translation) { return translation.verdict == Verdict::jump || translation.verdict == Verdict::go; }

    /// A jump of FORWARD, or all that may make it to netfilter, where the jump costs more than half of what there is left.
    bool apply_or_refuse(const SavedRule& rule, const Translation& translation, const Place& next, const Conditions& packets)
    {
        const auto decisions = result_.decisions.size(), settled = settled_.size();
        auto stays = result_.stays;
        auto reached = result_.reached;
        limit_ = decisions + (most_ - decisions - std::min(needed_, most_ - decisions)) / 2;
        most_steps_ = steps_ + (kMostSteps - steps_) / 2;
        bool decided = true;
        try {
            decided = apply(rule, translation, next, packets, false);
            limit_ = kNoLimit;
        } catch (const TooMany&) {
            limit_ = kNoLimit;
            depth_ = 1;
            result_.decisions.erase(result_.decisions.begin() + static_cast<std::ptrdiff_t>(decisions), result_.decisions.end());
            settled_.erase(settled_.begin() + static_cast<std::ptrdiff_t>(settled), settled_.end());
            result_.stays = std::move(stays);
            result_.reached = std::move(reached);
            result_.stays[&rule] = fmt::format("following it takes too many of {} rules", most_);
            decide(packets, Verdict::netfilter, &rule);
        }
        return decided;
    }

    /// Emits what the rule does with packets that match it. True where all of them are decided about.
    bool apply(const SavedRule& rule, const Translation& translation, const Place& next, const Conditions& packets, bool stays)
    {
        if (translation.verdict == Verdict::none) return false;
        if (stays) return decide(packets, Verdict::netfilter, &rule);
        switch (translation.verdict) {
        case Verdict::leave: return concerns(next, packets) && resume(next.caller, packets);
        case Verdict::jump: return run({target_of(translation), 0, &next}, packets);
        case Verdict::go: return run({target_of(translation), 0, next.caller}, packets) || resume(next.caller, packets);
        default: return decide(packets, translation.verdict, &rule);
        }
    }

    /// Whether the rest of the chain says anything about packets that leave it: else they may as well stay.
    bool concerns(const Place& rest, const Conditions& packets) const
    {
        const auto says = [&](const SavedRule& rule) {
            const auto& translation = translations_.at(&rule);
            const bool same = translation.verdict == Verdict::none || (translation.verdict == Verdict::leave && !translation.stays());
            return !same && std::any_of(translation.matches.begin(), translation.matches.end(), [&](const auto& match) { return packets.meets(match); });
        };
        return std::any_of(rest.chain->rules.begin() + static_cast<std::ptrdiff_t>(rest.next), rest.chain->rules.end(), says);
    }

    const Chain* target_of(const Translation& translation) const { return scope_.table->chain(translation.target); }

    /// Emits what becomes of packets that leave a chain: always a decision about all of them.
    bool resume(const Place* place, const Conditions& packets)
    {
        if (!place)
            decide_policy(packets);
        else if (!run(*place, packets))
            resume(place->caller, packets);
        settled_.push_back(packets);
        return true;
    }

    /// True where the decisions so far are about all of these packets. Not found out of any, but of those that left a chain.
    bool is_settled(const Conditions& packets)
    {
        count_steps(settled_.size());
        return std::any_of(settled_.begin(), settled_.end(), [&](const Conditions& all) { return packets.is_within(all); });
    }

    bool decide_policy(const Conditions& packets)
    {
        return decide(packets, base_.policy == "DROP" ? Verdict::drop : Verdict::allow, nullptr);
    }

    bool decide(const Conditions& packets, Verdict verdict, const SavedRule* rule)
    {
        result_.decisions.push_back({packets, verdict, rule});
        if (result_.decisions.size() > limit_) throw TooMany{};
        return true;
    }

    void count_steps(std::size_t steps)
    {
        steps_ += steps;
        if (limit_ != kNoLimit && steps_ > most_steps_) throw TooMany{};
    }

    /// Notes why netfilter must go on having the rule. True where all that may match it is netfilter's.
    bool note(const SavedRule& rule, const Translation& translation)
    {
        std::string why = translation.unsupported;
        if (!translation.unmatched.empty()) why += (why.empty() ? "" : "; ") + fmt::format("not offloaded: {}", translation.unmatched);
        if (translation.verdict == Verdict::none && !translation.target.empty())
            why = fmt::format("-j {}: not done to packets that the fast path decides about", translation.target);
        if (!why.empty()) result_.stays[&rule] = why;
        return !why.empty();
    }

    const Scope& scope_;
    const Translations& translations_;
    const std::size_t most_;
    const Chain& base_;
    std::size_t needed_ = 1;              ///< decisions, for the rest of FORWARD if it jumps nowhere, and its policy
    static constexpr std::size_t kNoLimit = SIZE_MAX;
    std::size_t limit_ = kNoLimit;        ///< for the decisions, while a jump is followed
    std::size_t steps_ = 0, most_steps_ = 0, depth_ = 0;
    std::vector<Conditions> settled_;
    Flattened result_;
};

} // namespace

Flattened flatten(const Scope& scope, std::size_t most_decisions)
{
    const auto* base = scope.table->chain(kBaseChain);
    if (!base) throw FileError{0, fmt::format("table {} has no chain {}", scope.table->name, kBaseChain)};
    Translations translations;
    for (const auto& chain : scope.table->chains)
        for (const auto& rule : chain.rules) translations.emplace(&rule, read_rule(rule, scope));
    Followed followed{scope, translations};
    followed.follow(*base);
    auto flattened = Flattener{scope, translations, most_decisions}.flatten();
    flattened.chains = std::move(followed.chains);
    return flattened;
}

} // namespace evnf::fw::iptables
