// SPDX-License-Identifier: MIT
/// Rules that can never decide, because an earlier rule matches all that they match.
#include <live_sets.hpp>
#include <unused.hpp>

#include <fmt/format.h>

#include "catch.hpp"
#include "fw_random_frames.hpp"
#include "fw_random_rules.hpp"

using namespace evnf::test;
using evnf::Node;
using evnf::Problems;
using evnf::fw::RuleBook;
using evnf::fw::Unreachable;
using evnf::fw::unreachable_rules;

namespace {

using Found = std::vector<Unreachable>;

/// Ports a, b and c, by their letters.
class Letters final : public evnf::Ports {
public:
    int index(std::string_view name) const override { return name.size() == 1 ? name[0] - 'a' : -1; }
    std::string_view name(int) const override { return {}; }
};

RuleBook book_of(const std::string& settings)
{
    Problems problems{"f"};
    const auto root = YAML::Load(settings);
    auto policy = evnf::fw::read_policy(Node{root, "", root.Mark(), problems}, Letters{});
    INFO(settings);
    REQUIRE(problems.errors() == std::vector<std::string>{});
    const evnf::fw::LiveSets sets{policy.sets, {}};
    return make_rule_book(std::move(policy), {}, sets.all());
}

/// Whether a rule with the first conditions covers a later one with the others.
bool covers(const std::string& first, const std::string& later)
{
    const auto rule = [](const char* name, const std::string& conditions) {
        return fmt::format("{{name: {}, action: allow{}{}}}", name, conditions.empty() ? "" : ", ", conditions);
    };
    const auto found = unreachable_rules(book_of("{sets: {office: [10.10.0.0/16, \"2001:db8:1::/48\"], nobody: []}, rules: [" +
                                                 rule("first", first) + ", " + rule("later", later) + "]}"));
    CHECK((found.empty() || found == Found{{1, 0}}));
    return !found.empty();
}

/// A list of so many networks 10.X.Y, each as these prefixes of it; they do not touch the next one's.
std::string some_prefixes(unsigned first, unsigned count, const std::vector<std::string>& ends = {"0/25"})
{
    std::string list;
    for (unsigned i = first; i < first + count; ++i)
        for (const auto& end : ends) list += fmt::format("{}10.{}.{}.{}", list.empty() ? "" : ", ", i / 256, i % 256, end);
    return "[" + list + "]";
}

/// What is found must hold for many frames, most of them near the rules.
void check_against_frames(std::mt19937& random, const std::vector<FwModelRule>& rules)
{
    const auto settings = fw_settings(rules, "drop");
    const auto found = unreachable_rules(book_of(settings));
    for (int i = 0; i < 400; ++i) {
        const auto frame = i % 4 ? fw_frame_near(random, rules) : random_fw_frame(random);
        const auto packet = reference_parse(frame);
        if (!packet.problem.empty() || packet.ip_version == 0) continue;
        const std::string port(1, static_cast<char>('a' + random() % 3));
        for (const auto& [rule, by] : found) {
            if (!fw_matches(rules[rule], packet, port)) continue;
            if (by && fw_matches(rules[*by], packet, port)) continue;
            INFO(fw_rule_text(rules[rule]) << "\nby " << (by ? fw_rule_text(rules[*by]) : "nothing") << "\n" << describe(frame) << " at " << port);
            CHECK_FALSE("covered, but for this frame");
        }
    }
}

} // namespace

TEST_CASE("fw unused: each condition of a covering rule has all of the later one's")
{
    struct Case {
        std::string first, later;
    };
    const std::vector<Case> covered{
        {"", ""},
        {"", "src: 10.0.0.0/8, dport: 80, in_port: a, dscp: ef"},
        {"src: 10.0.0.0/8", "src: 10.1.0.0/16"},
        {"dst: [10.0.0.0/9, 10.128.0.0/9]", "dst: 10.0.0.0/8"},
        {"dst: [0.0.0.0/0, \"::/0\"]", ""},
        {"src: $office", "src: [10.10.4.0/24, \"2001:db8:1:2::/64\"]"},
        {"src: \"!$office\"", "src: 192.0.2.1"},
        {"src: \"!10.1.0.0/16\"", "src: \"!10.0.0.0/8\""},
        {"src: \"!10.1.0.0/16\"", "src: \"::/0\""},
        {"src: 0.0.0.0/0", "src: 10.0.0.1, dst: [10.0.0.0/8, \"2001:db8::/32\"]"},
        {"dport: [1-80, 81-90]", "proto: tcp, dport: 70-85"},
        {"dport: 0-65535", "proto: udp, fragment: no"},
        {"dport: 0-65535", "proto: udp, sport: 7"},
        {"proto: [tcp, udp, sctp]", "dport: 80"},
        {"proto: tcp", "proto: tcp, tcp_flags: syn"},
        {"proto: tcp, tcp_flags: \"!ack\"", "proto: tcp, tcp_flags: \"syn,!ack\""},
        {"proto: icmp, icmp_type: [8, 3]", "proto: icmp, icmp_type: 3/4"},
        {"proto: [icmp, icmpv6], icmp_type: echo-request", "proto: icmpv6, icmp_type: echo-request/0"},
        {"proto: icmp", "proto: icmp, icmp_type: 8"},
        {"proto: icmp, icmp_type: [8]", "src: 10.0.0.1, proto: [icmp, icmpv6], icmp_type: echo-request"},
        {"vlan: [7, 8]", "vlan: 8, inner_vlan: 5"},
        {"inner_vlan: [4, 5]", "inner_vlan: [5, 4, 5]"},
        {"src_mac: [02:00:00:00:00:02, 02:00:00:00:00:01]", "src_mac: 02:00:00:00:00:01"},
        {"dscp: [ef, cs0]", "dscp: ef"},
        {"fragment: yes", "fragment: later"},
        {"fragment: no", "fragment: no, dport: 80"},
        {"in_port: [a, b]", "in_port: b"},
        {"", "src: 10.0.0.1, in_port: a"},
    };
    for (const auto& [first, later] : covered) {
        INFO(first << " | " << later);
        CHECK(covers(first, later));
    }
    const std::vector<Case> apart{
        {"src: 10.1.0.0/16", "src: 10.0.0.0/8"},
        {"src: 10.0.0.0/8", ""},
        {"src: 0.0.0.0/0", ""},
        {"dst: [10.0.0.0/9, 10.128.0.0/10]", "dst: 10.0.0.0/8"},
        {"src: $office", "src: [10.10.4.0/24, \"2001:db8:2::/64\"]"},
        {"src: \"!$office\"", "src: 10.0.0.0/8"},
        {"src: \"!10.0.0.0/8\"", "src: \"!10.1.0.0/16\""},
        {"src: 10.0.0.0/8", "dst: 10.0.0.0/8"},
        {"dport: [1-80, 82-90]", "dport: 70-85"},
        {"dport: 80", "sport: 80"},
        {"dport: 0-65535", "proto: udp"},
        {"dport: 0-65535", "src: 10.0.0.1"},
        {"proto: [tcp, udp]", "dport: 80"},
        {"proto: tcp", ""},
        {"proto: tcp, tcp_flags: syn", "proto: tcp"},
        {"proto: tcp, tcp_flags: \"syn,!ack\"", "proto: tcp, tcp_flags: \"syn\""},
        {"proto: icmp, icmp_type: 3/4", "proto: icmp, icmp_type: 3"},
        {"proto: icmp, icmp_type: echo-request", "proto: [icmp, icmpv6], icmp_type: echo-request"},
        {"proto: icmp, icmp_type: 8", "proto: icmp"},
        {"vlan: [7, 8]", "vlan: [8, 9]"},
        {"vlan: 7", "inner_vlan: 7"},
        {"vlan: 7", ""},
        {"inner_vlan: 4", "inner_vlan: [4, 5]"},
        {"src_mac: 02:00:00:00:00:02", "src_mac: 02:00:00:00:00:01"},
        {"src_mac: 02:00:00:00:00:02", ""},
        {"dscp: ef", "dscp: [ef, cs0]"},
        {"fragment: yes", "dst: 10.0.0.1"},
        {"fragment: first", "fragment: yes"},
        {"fragment: no", "dport: 80"},
        {"in_port: a", "in_port: [a, b]"},
        {"in_port: a", ""},
    };
    for (const auto& [first, later] : apart) {
        INFO(first << " | " << later);
        CHECK_FALSE(covers(first, later));
    }
}

TEST_CASE("fw unused: the first covering rule is named, whatever the actions are")
{
    CHECK(unreachable_rules(book_of("{rules: [{name: a, dport: 80, action: drop}, {name: b, proto: tcp, dport: 22, action: drop},"
                                    "{name: c, dport: 1-100, action: allow}, {name: d, proto: tcp, dport: 22, action: allow},"
                                    "{name: e, dport: 50, action: drop}]}")) == Found{{3, 1}, {4, 2}});
}

TEST_CASE("fw unused: a rule that no packet meets is told from one that is covered")
{
    CHECK(unreachable_rules(book_of("{sets: {nobody: []}, rules: [{name: a, action: drop, dst: 10.0.0.0/8},"
                                    "{name: b, src: \"2001:db8::/32\", dst: 10.0.0.1, action: drop},"
                                    "{name: c, src: $nobody, action: drop}, {name: d, src: [\"!0.0.0.0/0\", \"!::/0\"], action: drop}]}")) ==
          Found{{1, std::nullopt}, {2, std::nullopt}, {3, std::nullopt}});
}

TEST_CASE("fw unused: sets are compared as what they hold")
{
    const auto sets = fmt::format("{{large: {}, same: {}, part: {}, more: {}, wider: {}, beside: {}}}", some_prefixes(0, 3000), some_prefixes(0, 3000),
                                  some_prefixes(100, 2000), some_prefixes(2000, 2000), some_prefixes(100, 2000, {"0/25", "128/26"}),
                                  some_prefixes(100, 2000, {"128/26"}));
    const auto found = unreachable_rules(book_of("{sets: " + sets +
                                                 ", rules: [{name: a, src: $large, action: drop}, {name: b, src: $large, action: drop},"
                                                 "{name: c, src: $same, action: drop}, {name: d, src: $part, action: drop},"
                                                 "{name: e, src: $more, action: drop}, {name: w, src: $wider, action: drop}, {name: x, src: $beside, action: drop}, {name: f, src: \"!$large\", action: drop},"
                                                 "{name: g, src: \"!$same\", action: drop}, {name: h, src: 10.0.3.7, action: drop}]}"));
    CHECK(found == Found{{1, 0}, {2, 0}, {3, 0}, {6, 5}, {8, 7}, {9, 0}});
}

TEST_CASE("fw unused: no frame meets a rule that is said to be unreachable but by the rule that covers it")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random{seed};
    for (int policy = 0; policy < 60; ++policy) {
        check_against_frames(random, random_fw_rules(random, 1 + random() % 200));
        check_against_frames(random, structured_fw_rules(random, 1 + random() % 200));
    }
}

TEST_CASE("fw unused: a rule that narrows an earlier one is found among many others")
{
    std::mt19937 random{std::random_device{}()};
    for (int policy = 0; policy < 30; ++policy) {
        auto rules = random_fw_rules(random, 150);
        const auto by = random() % rules.size();
        auto narrower = rules[by];
        narrower.name = "narrower";
        if (narrower.dscps.empty()) narrower.dscps = {46};
        if (narrower.src.networks.empty()) narrower.src.networks = {{"10.1.0.0/16", std::string("\x0a\x01\0\0", 4), 16}};
        rules.push_back(narrower);
        const auto found = unreachable_rules(book_of(fw_settings(rules, "drop")));
        INFO(fw_rule_text(rules[by]) << "\n" << fw_rule_text(narrower));
        REQUIRE_FALSE(found.empty());
        CHECK(found.back().rule == rules.size() - 1);
        // It may be covered by an earlier rule yet, or match nothing.
        CHECK(found.back().by.value_or(0) <= by);
    }
}

TEST_CASE("fw unused: 16,384 rules are compared without comparing all pairs")
{
    std::mt19937 random{1};
    const auto found = [](const std::vector<FwModelRule>& rules) { return unreachable_rules(book_of(fw_settings(rules, "drop"))).size(); };
    CHECK(found(structured_fw_rules(random, FW_MAX_RULES)) > 0);
    CHECK(found(random_fw_rules(random, FW_MAX_RULES)) > FW_MAX_RULES / 2);
}

TEST_CASE("fw unused: a state covers itself, and no other")
{
    CHECK(covers("", "state: new"));
    CHECK(covers("state: [new, established]", "state: established"));
    CHECK_FALSE(covers("state: new", "state: [new, established]"));
    CHECK_FALSE(covers("state: [new, established, related]", ""));
    CHECK(covers("state: [new, established, related, invalid]", ""));
}

TEST_CASE("fw unused: a rule with a limit covers nothing, and may be covered")
{
    CHECK_FALSE(covers("limit: {rate: 1/s}", ""));
    CHECK(covers("", "limit: {rate: 1/s}"));
}

TEST_CASE("fw unused: where connections are tracked, later fragments have the ports of their first")
{
    const auto found = [](const std::string& more) {
        return unreachable_rules(book_of("{rules: [{name: later, action: allow, fragment: later, proto: udp, src: 10.0.0.0/8},"
                                         " {name: ports, action: allow, dport: 53, proto: udp, src: 10.0.0.0/8, fragment: yes}" +
                                         more + "]}"));
    };
    CHECK(found("").empty());
    const auto first_covers = [](const std::string& more) {
        return unreachable_rules(book_of("{rules: [{name: first, action: allow, fragment: first}, {name: ports, action: allow, dport: 53, fragment: yes}" + more + "]}"));
    };
    CHECK(first_covers("") == Found{{1, 0}});
    CHECK(first_covers(", {name: c, action: drop, state: invalid}").empty());
}
