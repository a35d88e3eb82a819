// SPDX-License-Identifier: MIT
#include "flattener.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace evnf::fw::iptables {

namespace {

constexpr const char* kBaseChain = "FORWARD";
/// Paths through the chains may multiply without giving decisions.
constexpr std::size_t kMostSteps = 1'000'000;

using Translations = std::map<const SavedRule*, Translation>;

/// Where packets go on after a chain: behind the jump to it, then behind the jump to that chain, …, then to the policy.
struct Place {
    const Chain* chain;
    std::size_t next; ///< index of a rule
    const Place* caller;
};

struct TooMany {
    const SavedRule* culprit; ///< the jump of FORWARD that most decisions come from; null: none
};

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
    Flattener(const Scope& scope, const Translations& translations, std::size_t most, const Remainder& refused)
        : scope_{scope}, translations_{translations}, most_{most}, refused_{refused}, base_{*scope.table->chain(kBaseChain)}
    {
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
        for (; at.next < at.chain->rules.size();) {
            const auto& rule = at.chain->rules[at.next++];
            if (depth_ == 1) culprit_ = &rule;
            result_.reached.insert(&rule);
            const auto& translation = translations_.at(&rule);
            const bool stays = note(rule, translation);
            for (const auto& match : translation.matches) {
                count_step();
                const auto both = conditions & match;
                if (both.empty()) continue;
                if (is_settled(both)) {
                    if (both == conditions) return true;
                    continue;
                }
                if (!stays && both == conditions && translation.verdict == Verdict::leave) return false;
                if (!stays && both == conditions && translation.verdict == Verdict::go) return run({target_of(translation), 0, at.caller}, both);
                if (apply(rule, translation, at, both, stays) && both == conditions) return true;
            }
        }
        return false;
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
            return !same && !(Alternatives{packets} & translation.matches).empty();
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
    bool is_settled(const Conditions& packets) const
    {
        return std::any_of(settled_.begin(), settled_.end(), [&](const Conditions& all) { return (packets & all) == packets; });
    }

    bool decide_policy(const Conditions& packets)
    {
        return decide(packets, base_.policy == "DROP" ? Verdict::drop : Verdict::allow, nullptr);
    }

    bool decide(const Conditions& packets, Verdict verdict, const SavedRule* rule)
    {
        result_.decisions.push_back({packets, verdict, rule});
        ++decisions_of_[culprit_];
        if (result_.decisions.size() > most_) give_up();
        return true;
    }

    void count_step()
    {
        ++steps_of_[culprit_];
        if (++steps_ > kMostSteps) give_up();
    }

    [[noreturn]] void give_up() const
    {
        const auto& costs = steps_ > kMostSteps ? steps_of_ : decisions_of_;
        const SavedRule* most = nullptr;
        for (const auto& [rule, cost] : costs)
            if (rule && is_jump(*rule) && (!most || cost > costs.at(most))) most = rule;
        throw TooMany{most};
    }

    bool is_jump(const SavedRule& rule) const
    {
        const auto verdict = translations_.at(&rule).verdict;
        return (verdict == Verdict::jump || verdict == Verdict::go) && !refused_.contains(&rule);
    }

    /// Notes why netfilter must go on having the rule. True where all that may match it is netfilter's.
    bool note(const SavedRule& rule, const Translation& translation)
    {
        std::string why = translation.unsupported;
        if (!translation.unmatched.empty()) why += (why.empty() ? "" : "; ") + fmt::format("not offloaded: {}", translation.unmatched);
        if (const auto refused = refused_.find(&rule); refused != refused_.end()) why = refused->second;
        if (translation.verdict == Verdict::none && !translation.target.empty())
            why = fmt::format("-j {}: not done to packets that the fast path decides about", translation.target);
        if (!why.empty()) result_.stays[&rule] = why;
        return !why.empty();
    }

    const Scope& scope_;
    const Translations& translations_;
    const std::size_t most_;
    const Remainder& refused_;
    const Chain& base_;
    const SavedRule* culprit_ = nullptr; ///< the rule of FORWARD that decisions come from
    std::map<const SavedRule*, std::size_t> decisions_of_, steps_of_;
    std::size_t steps_ = 0, depth_ = 0;
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
    for (Remainder refused;;) {
        try {
            auto flattened = Flattener{scope, translations, most_decisions, refused}.flatten();
            flattened.chains = std::move(followed.chains);
            return flattened;
        } catch (const TooMany& too_many) {
            if (!too_many.culprit) throw FileError{0, fmt::format("gives more than {} rules", most_decisions)};
            refused[too_many.culprit] = fmt::format("with its chain the rules would be more than {}", most_decisions);
        }
    }
}

} // namespace evnf::fw::iptables
