// SPDX-License-Identifier: MIT
/// The firewall in the kernel against rules tried one after the other: random rule sets, and packets that
/// meet them, nearly do, or come from anywhere. Rule and verdict must be the same for every packet.
#include <boost/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>

#include "catch.hpp"
#include "chain.hpp"
#include "dice.hpp"
#include "fw_classbench.hpp"
#include "fw_connections.hpp"
#include "fw_coverage.hpp"
#include "fw_random_frames.hpp"
#include "fw_random_rules.hpp"
#include "seed.hpp"

using namespace evnf::test;

namespace {

const std::vector<FwFamily> kFamilies{FwFamily::v4, FwFamily::v6, FwFamily::both};
const std::vector<std::string> kHeaderKinds{"src v4",    "src v6",      "dst v4",
                                            "dst v6",    "sport one",   "sport range",
                                            "dport one", "dport range", "proto name"};
const std::vector<std::string> kAllKinds{"src list",
                                         "dst list",
                                         "src !list",
                                         "dst !list",
                                         "src $set",
                                         "dst $set",
                                         "src !$set",
                                         "dst !$set",
                                         "sport list",
                                         "dport list",
                                         "proto name",
                                         "proto number",
                                         "icmp_type v4",
                                         "icmp_type v6",
                                         "icmp_type v4 code",
                                         "icmp_type v6 code",
                                         "icmp_type both code",
                                         "tcp_flags set",
                                         "tcp_flags clear",
                                         "vlan",
                                         "inner_vlan",
                                         "src_mac",
                                         "dscp",
                                         "fragment yes",
                                         "fragment no",
                                         "fragment first",
                                         "fragment later",
                                         "in_port"};

std::string configuration(const std::string& settings)
{
    return "ports: [{name: a, chain: [fw]}, {name: b, chain: [fw]}, {name: c, chain: [fw]}]\nplugins: {fw: " +
           settings + "}\n";
}

evnf_verdict verdict_of(const FwDecision& decision)
{
    const std::string action = decision.rule ? decision.rule->action : "drop";
    return action == "allow" ? EVNF_FORWARD : action == "drop" ? EVNF_DROP : EVNF_KERNEL;
}

std::string text_of(const std::vector<FwModelRule>& rules, const std::string& name)
{
    const auto found =
        std::find_if(rules.begin(), rules.end(), [&](const auto& rule) { return rule.name == name; });
    return found == rules.end() ? name : fw_rule_text(*found);
}

/// What was tried, and with which result.
struct Tally {
    std::map<FwAim, unsigned> by_rule, by_default, refused;
    FwCoverage coverage;
};

/// One rule set, in the kernel and in the model.
class Comparison {
public:
    Comparison(const std::vector<FwModelRule>& rules, Tally& tally, const std::string& settings = "",
               bool loose = false)
        : rules_{rules},
          tally_{tally},
          chain_{configuration(fw_settings(rules, "drop", settings))},
          model_{rules, loose}
    {
    }

    void compare(FwAim aim, const FwShot& shot)
    {
        if (!chain_.can_run(shot.port, shot.frame)) return;
        const auto parsed = reference_parse(shot.frame);
        const auto result = chain_.run(shot.port, shot.frame);
        INFO("port " << shot.port << " " << describe(shot.frame));
        if (!parsed.problem.empty()) {
            ++tally_.refused[aim];
            REQUIRE(result.verdict == EVNF_DROP);
            REQUIRE(result.plugins.empty());
            return;
        }
        if (parsed.ip_version == 0) return; // cut where its type is another
        compare_decision(aim, shot, result);
    }

private:
    void compare_decision(FwAim aim, const FwShot& shot, const Result& result)
    {
        const auto wanted = model_.decide(shot.frame, shot.port);
        const std::string name = wanted.rule ? wanted.rule->name : "default";
        const std::string decided = result.plugins.at("fw").at("rule").as_string().c_str();
        INFO("state " << wanted.state << "\nwanted  " << text_of(rules_, name) << "\ndecided "
                      << text_of(rules_, decided));
        REQUIRE(result.reason != "search_limit");
        REQUIRE(decided == name);
        REQUIRE(result.verdict == verdict_of(wanted));
        ++(wanted.rule ? tally_.by_rule : tally_.by_default)[aim];
        if (wanted.rule) tally_.coverage.met(*wanted.rule);
        if (shot.rule) tally_.coverage.missed(*shot.rule, wanted, shot.port);
    }

    const std::vector<FwModelRule>& rules_;
    Tally& tally_;
    Chain chain_;
    FwStateful model_;
};

const std::vector<FwAim> kAims{FwAim::rule,     FwAim::near_miss, FwAim::near_miss, FwAim::spoofed,
                               FwAim::fragment, FwAim::tagged,    FwAim::random,    FwAim::cut};
const std::vector<FwAim> kAimsInConnections{
    FwAim::rule,   FwAim::near_miss, FwAim::spoofed, FwAim::fragment, FwAim::fragment, FwAim::cut,
    FwAim::answer, FwAim::answer,    FwAim::further, FwAim::further,  FwAim::error};

void compare_all(std::mt19937& random, const std::vector<FwModelRule>& rules, const std::vector<FwAim>& aims,
                 unsigned packets, Comparison comparison)
{
    INFO(rules.size() << " rules");
    FwTraffic traffic{random, rules};
    for (unsigned i = 0; i < packets; ++i) {
        const auto aim = aims[i % aims.size()];
        comparison.compare(aim, traffic.next(aim));
    }
}

/// A frame of which one bit of the headers is another, often one of what follows the type: a DSCP's, a tag's.
FwShot with_flipped_bit(Dice& dice, FwShot shot)
{
    const auto bits = 8 * std::min<unsigned>(static_cast<unsigned>(shot.frame.size()), 60);
    const auto bit = dice.chance(50) ? std::min(8 * 14 + dice.below(16), bits - 1) : dice.below(bits);
    shot.frame[bit / 8] ^= std::byte{1} << bit % 8;
    return shot;
}

/// Some packets and others that are nearly the same, again and again in any order.
void compare_repeated(std::mt19937& random, const std::vector<FwModelRule>& rules, Comparison comparison)
{
    Dice dice{random};
    FwTraffic traffic{random, rules};
    std::vector<std::pair<FwAim, FwShot>> shots;
    for (unsigned i = 0; i < 20; ++i) {
        const auto aim = kAims[i % kAims.size()];
        shots.emplace_back(aim, traffic.next(aim));
        for (unsigned twin = 0; twin < 4; ++twin) shots.emplace_back(aim, with_flipped_bit(dice, shots.back().second));
    }
    for (unsigned i = 0; i < 1000; ++i) {
        const auto& [aim, shot] = dice.one_of(shots);
        comparison.compare(aim, shot);
    }
}

/// From 1 on, small ones more often.
unsigned size_up_to(std::mt19937& random, double most)
{
    return static_cast<unsigned>(std::pow(most, std::uniform_real_distribution<>{0, 1}(random)));
}

/// Every kind of packet met a rule and none, or was refused where it was cut.
void check(const Tally& tally, const std::vector<FwAim>& aims, const std::vector<std::string>& kinds)
{
    for (const auto& [aim, name] : kFwAims) {
        if (std::find(aims.begin(), aims.end(), aim) == aims.end()) continue;
        INFO(name);
        const auto count = [&](const std::map<FwAim, unsigned>& counts) {
            return counts.count(aim) ? counts.at(aim) : 0;
        };
        if (aim == FwAim::cut) {
            CHECK(count(tally.refused) > 0);
            continue;
        }
        CHECK(count(tally.by_rule) > 0);
        CHECK(count(tally.by_default) > 0);
    }
    CHECK(tally.coverage.never(kinds) == std::vector<std::string>{});
}

} // namespace

TEST_CASE("fw: random rules with all kinds of conditions decide as rules tried one after the other do")
{
    const auto seed = seed_of_test();
    std::mt19937 random{seed};
    Tally tally;
    for (unsigned set = 0; set < 80; ++set) {
        INFO("seed " << seed << " rule set " << set);
        const auto rules = random_fw_rules(random, size_up_to(random, 400), kFamilies[set % 3]);
        compare_all(random, rules, kAims, 400, Comparison{rules, tally});
    }
    check(tally, kAims, kAllKinds);
}

TEST_CASE("fw: rules as ClassBench has them decide as rules tried one after the other do")
{
    const auto seed = seed_of_test();
    std::mt19937 random{seed};
    Tally tally;
    for (const auto flavour : {FwFlavour::acl, FwFlavour::fw, FwFlavour::ipc})
        for (const auto family : kFamilies)
            for (unsigned set = 0; set < 5; ++set) {
                INFO("seed " << seed << " flavour " << static_cast<int>(flavour) << " family "
                             << static_cast<int>(family) << " rule set " << set);
                const unsigned size =
                    set == 0 ? (family == FwFamily::both ? 10000 : 1000) : size_up_to(random, 1000);
                const auto rules = classbench_fw_rules(random, flavour, family, size);
                compare_all(random, rules, kAims, 400, Comparison{rules, tally});
            }
    check(tally, kAims, kHeaderKinds);
}

TEST_CASE("fw: rules with prefixes of any length decide as rules tried one after the other do")
{
    const auto seed = seed_of_test();
    std::mt19937 random{seed};
    Tally tally;
    for (unsigned set = 0; set < 18; ++set) {
        INFO("seed " << seed << " rule set " << set);
        const unsigned size = set < 3 ? 1000 : set == 3 ? 10000 : size_up_to(random, 1000);
        const auto rules = uniform_fw_rules(random, size, kFamilies[set % 3]);
        compare_all(random, rules, kAims, 400, Comparison{rules, tally});
    }
    check(tally, kAims,
          {"src v4", "src v6", "dst v4", "dst v6", "sport one", "sport range", "dport one", "dport range",
           "proto number"});
}

TEST_CASE("fw: thousands of rules decide as rules tried one after the other do")
{
    const auto seed = seed_of_test();
    std::mt19937 random{seed};
    Tally tally;
    for (const unsigned size : {1u, 10u, 100u, 1000u, 3000u, 10000u}) {
        INFO("seed " << seed << ", " << size << " rules");
        const auto rules = structured_fw_rules(random, size);
        compare_all(random, rules, kAims, 400, Comparison{rules, tally});
    }
    check(tally, kAims, {"src v4", "src v6", "dst v4", "dst v6"});
}

TEST_CASE("fw: packets that come again are decided as rules tried one after the other do")
{
    const auto seed = seed_of_test();
    std::mt19937 random{seed};
    Tally tally;
    for (unsigned set = 0; set < 30; ++set) {
        INFO("seed " << seed << " rule set " << set);
        const auto rules = random_fw_rules(random, size_up_to(random, 400), kFamilies[set % 3]);
        compare_repeated(random, rules, Comparison{rules, tally});
    }
    check(tally, {}, {"src $set", "src list", "proto name"});
}

TEST_CASE("fw: rules with states decide as rules tried one after the other do")
{
    const auto seed = seed_of_test();
    std::mt19937 random{seed};
    Tally tally;
    for (unsigned set = 0; set < 55; ++set) {
        const bool loose = set % 4 == 3;
        INFO("seed " << seed << " rule set " << set << (loose ? " loose" : ""));
        auto rules = set % 5 ? random_fw_rules(random, size_up_to(random, 200), kFamilies[set % 3])
                             : classbench_fw_rules(random, FwFlavour::ipc, kFamilies[set % 3],
                                                   size_up_to(random, 2000));
        add_states(random, rules);
        const std::string settings =
            std::string{"max_half_open: 10000, loose: "} + (loose ? "true" : "false");
        compare_all(random, rules, kAimsInConnections, 500, Comparison{rules, tally, settings, loose});
    }
    check(tally, kAimsInConnections,
          {"state new", "state established", "state related", "state invalid", "state list"});
}
