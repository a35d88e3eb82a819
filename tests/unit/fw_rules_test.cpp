// SPDX-License-Identifier: MIT
/// What the firewall's settings may say, and what it answers to what they may not.
#include <rules.hpp>

#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "catch.hpp"

using evnf::Node;
using evnf::Problems;
using evnf::fw::Policy;

namespace {

using Lines = std::vector<std::string>;

class TwoPorts final : public evnf::Ports {
public:
    int index(std::string_view name) const override { return name == "eth0" ? 3 : name == "eth1" ? 4 : -1; }
    std::string_view name(int) const override { return {}; }
};

struct Outcome {
    Policy policy;
    Lines errors, warnings;
};

Outcome read(const std::string& yaml, const std::string& file = "f")
{
    Problems problems{file};
    const auto root = YAML::Load(yaml);
    Outcome outcome;
    outcome.policy = evnf::fw::read_policy(Node{root, "", root.Mark(), problems}, TwoPorts{});
    outcome.errors = problems.errors();
    outcome.warnings = problems.warnings();
    return outcome;
}

/// The one rule with this text behind its name and action.
evnf::fw::Rule rule(const std::string& conditions)
{
    const auto outcome = read(
        "{sets: {office: [10.10.0.0/16, \"2001:db8:1::/48\"]}, "
        "rules: [{name: r, action: allow, " +
        conditions + "}]}");
    INFO(conditions);
    CHECK(outcome.errors == Lines{});
    REQUIRE(outcome.policy.rules.size() == 1);
    return outcome.policy.rules.front();
}

/// The problems of a rule that stands on line 2 and begins in column 3.
Lines problems(const std::string& conditions)
{
    return read("rules:\n- {name: r, action: allow, " + conditions + "}").errors;
}

/// A file in a directory of its own, gone with this object.
class TemporaryFile {
public:
    TemporaryFile(const std::string& name, const std::string& text)
    {
        std::string pattern = std::filesystem::temp_directory_path() / "evnf-fw-XXXXXX";
        REQUIRE(mkdtemp(pattern.data()) != nullptr);
        directory_ = pattern;
        std::ofstream{directory_ / name} << text;
    }
    ~TemporaryFile() { std::filesystem::remove_all(directory_); }

    const std::filesystem::path& directory() const { return directory_; }

private:
    std::filesystem::path directory_;
};

std::vector<std::string> texts(const std::vector<evnf::Prefix>& prefixes)
{
    std::vector<std::string> all;
    for (const auto& prefix : prefixes) all.push_back(prefix.text());
    return all;
}

} // namespace

TEST_CASE("fw: no settings mean no rules and netfilter")
{
    Problems problems{"f"};
    const auto policy =
        evnf::fw::read_policy(Node{YAML::Node{YAML::NodeType::Undefined}, "", {}, problems}, TwoPorts{});
    CHECK(problems.empty());
    CHECK(policy.rules.empty());
    CHECK(policy.fallback == FW_NETFILTER);
}

TEST_CASE("fw: rules keep their order, names and actions")
{
    const auto [policy, errors, warnings] = read(
        "default: drop\n"
        "rules:\n"
        "- {name: a, action: drop}\n"
        "- {name: b, action: netfilter}\n"
        "- {name: c, action: allow}\n"
        "- {name: d, action: reject}\n");
    CHECK(errors == Lines{});
    REQUIRE(policy.rules.size() == 4);
    CHECK(policy.rules[3].action == FW_REJECT);
    CHECK(policy.rules[0].name == "a");
    CHECK(policy.rules[0].action == FW_DROP);
    CHECK(policy.rules[1].action == FW_NETFILTER);
    CHECK(policy.rules[2].action == FW_ALLOW);
    CHECK(policy.fallback == FW_DROP);
}

TEST_CASE("fw: an address may be one prefix, a list, a set, and their negation")
{
    CHECK(texts(rule("src: 10.2.0.2").src->prefixes) == Lines{"10.2.0.2/32"});
    CHECK(texts(rule("dst: [10.0.0.0/8, \"2001:db8::/32\"]").dst->prefixes) ==
          Lines{"10.0.0.0/8", "2001:db8::/32"});
    CHECK(rule("src: [$office, 192.0.2.1, $office]").src->sets == Lines{"office"});
    CHECK(texts(rule("src: [$office, 192.0.2.1]").src->prefixes) == Lines{"192.0.2.1/32"});
    CHECK_FALSE(rule("src: $office").src->negated);
    CHECK(rule("src: \"!$office\"").src->negated);
    CHECK(rule("src: [\"!10.0.0.0/8\", \"!$office\"]").src->negated);
    CHECK_FALSE(rule("src: 10.0.0.0/8").dst);
}

TEST_CASE("fw: ports may be numbers, ranges and lists")
{
    const auto dport = rule("proto: tcp, dport: [80, 8000-8080, 0-65535]").dport;
    REQUIRE(dport.size() == 3);
    CHECK((dport[0].first == 80 && dport[0].last == 80));
    CHECK((dport[1].first == 8000 && dport[1].last == 8080));
    CHECK((dport[2].first == 0 && dport[2].last == 65535));
    CHECK(rule("sport: 53").sport.size() == 1);
}

TEST_CASE("fw: protocols may be names and numbers")
{
    CHECK(rule("proto: [tcp, udp, sctp, icmp, icmpv6, gre, esp, ah, 89]").protocols ==
          std::vector<std::uint8_t>{6, 17, 132, 1, 58, 47, 50, 51, 89});
}

TEST_CASE("fw: a name of an ICMP type means the number of the rule's own family")
{
    const auto v4 = rule("proto: icmp, icmp_type: echo-request").icmp_types;
    REQUIRE(v4.size() == 1);
    CHECK((v4[0].protocol == 1 && v4[0].type == 8));
    const auto both = rule("proto: [icmp, icmpv6], icmp_type: [echo-request, 3]").icmp_types;
    REQUIRE(both.size() == 4);
    CHECK((both[1].protocol == 58 && both[1].type == 128));
    CHECK((both[3].protocol == 58 && both[3].type == 3));
    CHECK_FALSE(both[3].code);
}

TEST_CASE("fw: an ICMP type may have a code")
{
    const auto types =
        rule("proto: icmp, icmp_type: [\"3/4\", destination-unreachable/0, redirect/255, 11]").icmp_types;
    REQUIRE(types.size() == 4);
    CHECK((types[0].type == 3 && types[0].code == 4));
    CHECK((types[1].type == 3 && types[1].code == 0));
    CHECK((types[2].type == 5 && types[2].code == 255));
    CHECK((types[3].type == 11 && !types[3].code));
    const auto both = rule("proto: [icmp, icmpv6], icmp_type: destination-unreachable/4").icmp_types;
    REQUIRE(both.size() == 2);
    CHECK((both[0].protocol == 1 && both[0].type == 3 && both[0].code == 4));
    CHECK((both[1].protocol == 58 && both[1].type == 1 && both[1].code == 4));
}

TEST_CASE("fw: TCP flags name what must be set and what must be clear")
{
    const auto flags = rule("proto: tcp, tcp_flags: \"syn,!ack,!rst\"").tcp_flags;
    REQUIRE(flags);
    CHECK(flags->set == 0x02);
    CHECK(flags->clear == 0x14);
}

TEST_CASE("fw: VLAN ids and ports of entry may be lists")
{
    CHECK(rule("vlan: [0, 7, 4094]").vlans == std::vector<std::uint16_t>{0, 7, 4094});
    CHECK(rule("inner_vlan: 5").inner_vlans == std::vector<std::uint16_t>{5});
    CHECK(rule("inner_vlan: [0, 4094]").inner_vlans == std::vector<std::uint16_t>{0, 4094});
    CHECK(rule("inner_vlan: 5").vlans.empty());
    CHECK(rule("in_port: [eth1, eth0]").in_ports == std::vector<std::uint16_t>{4, 3});
}

TEST_CASE("fw: MAC addresses are read with the first byte highest")
{
    CHECK(rule("src_mac: \"02:00:5e:10:00:01\"").macs == std::vector<std::uint64_t>{0x02005e100001});
    CHECK(rule("src_mac: [02:00:5E:10:00:01, \"fe:ff:ff:ff:ff:ff\"]").macs ==
          std::vector<std::uint64_t>{0x02005e100001, 0xfeffffffffff});
    CHECK(rule("dport: 80").macs.empty());
}

TEST_CASE("fw: DSCPs may be names and numbers")
{
    CHECK(rule("dscp: ef").dscps == std::vector<std::uint8_t>{46});
    CHECK(rule("dscp: [0, 63, cs0, cs6, af11, af43, va, le]").dscps ==
          std::vector<std::uint8_t>{0, 63, 0, 48, 10, 38, 44, 1});
}

TEST_CASE("fw: fragment says which of whole packets, first and later fragments")
{
    constexpr int kWhole = 1 << EVNF_FRAGMENT_NONE, kFirst = 1 << EVNF_FRAGMENT_FIRST,
                  kLater = 1 << EVNF_FRAGMENT_LATER;
    CHECK(rule("fragment: yes").fragments == (kFirst | kLater));
    CHECK(rule("fragment: no").fragments == kWhole);
    CHECK(rule("fragment: first").fragments == kFirst);
    CHECK(rule("fragment: later").fragments == kLater);
    CHECK_FALSE(rule("dport: 80").fragments);
}

TEST_CASE("fw: a limit has a rate, and a burst and something that has it, or what is usual")
{
    const auto limit = [](const std::string& text) { return rule("limit: {" + text + "}").limit.value(); };
    CHECK(limit("rate: 100/s").interval_ns == 10'000'000);
    CHECK(limit("rate: 30/m").interval_ns == 2'000'000'000);
    CHECK(limit("rate: 1/h").interval_ns == 3'600'000'000'000);
    CHECK(limit("rate: 1000000/s").interval_ns == 1000);
    CHECK(limit("rate: 100/s").burst == 100);
    CHECK(limit("rate: 1/h").burst == 5);
    CHECK(limit("rate: 100/s, burst: 1").burst == 1);
    CHECK(limit("rate: 1/s").per == FW_PER_RULE);
    CHECK(limit("rate: 1/s, per: rule").per == FW_PER_RULE);
    CHECK(limit("rate: 1/s, per: src").per == FW_PER_SRC);
    CHECK(limit("rate: 1/s, per: dst").per == FW_PER_DST);
    CHECK(limit("rate: 1/s, per: flow").per == FW_PER_FLOW);
    CHECK_FALSE(rule("dport: 80").limit);
}

TEST_CASE("fw: limits says of how many sources, destinations and flows limits are kept")
{
    CHECK(read("{}").policy.max_limits == 65536);
    CHECK(read("limits: {max: 1000}").policy.max_limits == 1000);
    CHECK(read("limits: {max: 0}").errors == Lines{"f:1:15: limits.max: must be a whole number from 1 to 4194304, not '0'"});
    CHECK(read("limits: {}").errors == Lines{"f:1:9: limits: 'max' is missing"});
    CHECK(read("limits: {max: 5, full: drop}").errors == Lines{"f:1:18: limits.full: unknown key"});
}

TEST_CASE("fw: a rule is logged where it says so")
{
    CHECK(rule("log: true").log);
    CHECK_FALSE(rule("log: false").log);
    CHECK_FALSE(rule("dport: 80").log);
}

TEST_CASE("fw: what is wrong with a rule is said, and where")
{
    const std::vector<std::pair<std::string, std::string>> wrong{
        {"src: 10.0.0.300", "f:2:33: rules[0].src: '10.0.0.300' is no IPv4 or IPv6 address or prefix"},
        {"src: 10.0.0.1/8",
         "f:2:33: rules[0].src: '10.0.0.1/8' has host bits set; the network is 10.0.0.0/8"},
        {"src: [10.0.0.1, \"!10.0.0.2\"]",
         "f:2:44: rules[0].src[1]: '!' must stand before every element of the list or before none"},
        {"src: $nowhere", "f:2:33: rules[0].src: there is no 'nowhere' in sets"},
        {"src: []", "f:2:33: rules[0].src: must not be an empty list"},
        {"dport: 65536",
         "f:2:35: rules[0].dport: must be a port from 0 to 65535 or a range such as 8000-8080, not '65536'"},
        {"dport: 80-",
         "f:2:35: rules[0].dport: must be a port from 0 to 65535 or a range such as 8000-8080, not '80-'"},
        {"dport: [1, 90-80]", "f:2:39: rules[0].dport[1]: the range 90-80 ends before it begins"},
        {"dport: []", "f:2:35: rules[0].dport: must not be an empty list"},
        {"proto: icpm",
         "f:2:35: rules[0].proto: must be a protocol such as tcp, udp, icmp or a number from 0 to 255, not "
         "'icpm'"},
        {"proto: 256",
         "f:2:35: rules[0].proto: must be a protocol such as tcp, udp, icmp or a number from 0 to 255, not "
         "'256'"},
        {"proto: icmp, dport: 22",
         "f:2:48: rules[0].dport: needs a proto that is tcp, udp or sctp, and nothing else"},
        {"proto: [tcp, icmp], sport: 22",
         "f:2:55: rules[0].sport: needs a proto that is tcp, udp or sctp, and nothing else"},
        {"icmp_type: echo-request",
         "f:2:39: rules[0].icmp_type: needs a proto that is icmp or icmpv6, and nothing else"},
        {"proto: icmp, icmp_type: packet-too-big",
         "f:2:52: rules[0].icmp_type: 'packet-too-big' is neither a number from 0 to 255 nor the name of a "
         "type that the rule's protocol has, with '/' and a code or without"},
        {"proto: icmp, icmp_type: [8, 3/256]",
         "f:2:56: rules[0].icmp_type[1]: '3/256' is neither a number from 0 to 255 nor the name of a type "
         "that "
         "the rule's protocol has, with '/' and a code or without"},
        {"proto: icmp, icmp_type: 3/",
         "f:2:52: rules[0].icmp_type: '3/' is neither a number from 0 to 255 nor the name of a type that the "
         "rule's protocol has, with '/' and a code or without"},
        {"proto: icmp, icmp_type: /4",
         "f:2:52: rules[0].icmp_type: '/4' is neither a number from 0 to 255 nor the name of a type that the "
         "rule's protocol has, with '/' and a code or without"},
        {"proto: icmp, icmp_type: packet-too-big/0",
         "f:2:52: rules[0].icmp_type: 'packet-too-big/0' is neither a number from 0 to 255 nor the name of a "
         "type that the rule's protocol has, with '/' and a code or without"},
        {"src_mac: \"02:00:5e:10:00\"",
         "f:2:37: rules[0].src_mac: must be a MAC address such as 02:00:5e:10:00:01, not '02:00:5e:10:00'"},
        {"src_mac: [\"02:00:5e:10:00:01\", \"02:00:5e:10:00:0g\"]",
         "f:2:59: rules[0].src_mac[1]: must be a MAC address such as 02:00:5e:10:00:01, not "
         "'02:00:5e:10:00:0g'"},
        {"src_mac: 02-00-5e-10-00-01",
         "f:2:37: rules[0].src_mac: must be a MAC address such as 02:00:5e:10:00:01, not "
         "'02-00-5e-10-00-01'"},
        {"src_mac: []", "f:2:37: rules[0].src_mac: must not be an empty list"},
        {"dscp: 64",
         "f:2:34: rules[0].dscp: must be a DSCP such as ef, af41, cs6 or a number from 0 to 63, not '64'"},
        {"dscp: [ef, af44]",
         "f:2:39: rules[0].dscp[1]: must be a DSCP such as ef, af41, cs6 or a number from 0 to 63, not "
         "'af44'"},
        {"dscp: []", "f:2:34: rules[0].dscp: must not be an empty list"},
        {"fragment: maybe", "f:2:38: rules[0].fragment: must be one of yes, no, first, later, not 'maybe'"},
        {"fragment: [first]", "f:2:38: rules[0].fragment: must be one of yes, no, first, later"},
        {"proto: udp, tcp_flags: syn",
         "f:2:51: rules[0].tcp_flags: needs a proto that is tcp, and nothing else"},
        {"proto: tcp, tcp_flags: \"syn,!sin\"",
         "f:2:51: rules[0].tcp_flags: 'sin' is no TCP flag; there are fin, syn, rst, psh, ack, urg, ece and "
         "cwr"},
        {"proto: tcp, tcp_flags: \"syn,!syn\"",
         "f:2:51: rules[0].tcp_flags: no packet has a flag both set and clear"},
        {"in_port: eth7", "f:2:37: rules[0].in_port: there is no port 'eth7' in ports"},
        {"vlan: 4095", "f:2:34: rules[0].vlan: must be a whole number from 0 to 4094, not '4095'"},
        {"inner_vlan: 4095",
         "f:2:40: rules[0].inner_vlan: must be a whole number from 0 to 4094, not '4095'"},
        {"inner_vlan: []", "f:2:40: rules[0].inner_vlan: must not be an empty list"},
        {"dprot: 80", "f:2:28: rules[0].dprot: unknown key (did you mean 'dport'?)"},
        {"state: old", "f:2:35: rules[0].state: must be one of new, established, related, invalid, not 'old'"},
        {"state: []", "f:2:35: rules[0].state: must not be an empty list"},
        {"log: maybe", "f:2:33: rules[0].log: must be true or false, not 'maybe'"},
        {"limit: 100/s", "f:2:35: rules[0].limit: must be a map of keys and values"},
        {"limit: {burst: 5}", "f:2:35: rules[0].limit: 'rate' is missing"},
        {"limit: {rate: 0/s}",
         "f:2:42: rules[0].limit.rate: must be a rate from 1 to 1000000 a second, minute or hour such as 100/s, 30/m or "
         "10/h, not '0/s'"},
        {"limit: {rate: 10/d}",
         "f:2:42: rules[0].limit.rate: must be a rate from 1 to 1000000 a second, minute or hour such as 100/s, 30/m or "
         "10/h, not '10/d'"},
        {"limit: {rate: 100}",
         "f:2:42: rules[0].limit.rate: must be a rate from 1 to 1000000 a second, minute or hour such as 100/s, 30/m or "
         "10/h, not '100'"},
        {"limit: {rate: 1/s, burst: 0}", "f:2:54: rules[0].limit.burst: must be a whole number from 1 to 1000000, not '0'"},
        {"limit: {rate: 1/s, per: port}", "f:2:52: rules[0].limit.per: must be one of rule, src, dst, flow, not 'port'"},
        {"limit: {rate: 1/s, brust: 3}", "f:2:47: rules[0].limit.brust: unknown key (did you mean 'burst'?)"},
    };
    for (const auto& [conditions, message] : wrong) CHECK(problems(conditions) == Lines{message});
}

TEST_CASE("fw: states are a set, and without any of them nothing is tracked")
{
    CHECK(rule("state: established").states == 1 << FW_STATE_ESTABLISHED);
    CHECK(rule("state: [new, invalid, new]").states == (1 << FW_STATE_NEW | 1 << FW_STATE_INVALID));
    CHECK_FALSE(rule("dport: 80").states);
    CHECK(read("rules: [{name: r, state: related, action: drop}]").policy.asks_state());
    CHECK_FALSE(read("rules: [{name: r, action: drop}]").policy.asks_state());
}

TEST_CASE("fw: how connections are tracked has bounds")
{
    const auto tracking =
        read("max_connections: 5\nmax_half_open: 6\nloose: true\ntimeouts: {syn: 1s, established: 1h, icmp: 2s, other: 3m}").policy.tracking;
    CHECK(tracking.max_connections == 5);
    CHECK(tracking.max_half_open == 6);
    CHECK(tracking.loose);
    CHECK(tracking.syn == std::chrono::seconds{1});
    CHECK(tracking.established == std::chrono::hours{1});
    CHECK(tracking.fin == std::chrono::seconds{30});
    CHECK(tracking.icmp == std::chrono::seconds{2});
    CHECK(tracking.other == std::chrono::minutes{3});
    CHECK(read("max_connections: 0").errors == Lines{"f:1:18: max_connections: must be a whole number from 1 to 16000000, not '0'"});
    CHECK(read("max_half_open: x").errors.size() == 1);
    CHECK(read("loose: maybe").errors.size() == 1);
    CHECK(read("timeouts: {syn: 0s}").errors.size() == 1);
    CHECK(read("timeouts: {sync: 1s}").errors.size() == 1);
}

TEST_CASE("fw: a condition without a value does not widen the rule")
{
    CHECK(problems("src:") == Lines{"f:2:28: rules[0].src: has no value"});
    for (const std::string key : {"src_mac", "dscp", "fragment", "inner_vlan"})
        CHECK(problems(key + ":") == Lines{"f:2:28: rules[0]." + key + ": has no value"});
    CHECK(problems("proto: ~") == Lines{"f:2:28: rules[0].proto: has no value"});
    CHECK(problems("src: !10.0.0.0/8") ==
          Lines{"f:2:33: rules[0].src: a text that begins with '!' must stand in quotes"});
    CHECK(problems("src: [!$office]") ==
          Lines{"f:2:34: rules[0].src[0]: a text that begins with '!' must stand in quotes"});
}

TEST_CASE("fw: a rule needs a name of its own and an action that this version has")
{
    CHECK(read("rules: [{}]").errors ==
          Lines{"f:1:9: rules[0]: 'action' is missing", "f:1:9: rules[0]: 'name' is missing"});
    CHECK(read("rules: [{name: a, action: allow}, {name: a, action: drop}]").errors ==
          Lines{"f:1:35: rules[1]: there is a rule named 'a' already"});
    CHECK(read("rules: [{name: a, action: permit}]").errors ==
          Lines{"f:1:27: rules[0].action: must be one of allow, drop, netfilter, reject, not 'permit'"});
    for (const char* reserved : {"default", "established"})
        CHECK(read(std::string{"rules: [{action: drop, name: "} + reserved + "}]").errors.size() == 1);
    CHECK(read("rules: [{action: drop, name: " + std::string(63, 'x') + "}]").errors == Lines{});
    CHECK(read("rules: [{action: drop, name: " + std::string(64, 'x') + "}]").errors ==
          Lines{"f:1:30: rules[0].name: must be shorter than 64 bytes"});
}

TEST_CASE("fw: every problem is reported, not only the first")
{
    const auto errors = read("default: reject\nrules:\n- {name: a, dport: x}\n- 5\nrule: []\n").errors;
    CHECK(errors.size() == 5);
}

TEST_CASE("fw: 16384 rules are taken, 16385 are not")
{
    const auto many = [](int count) {
        std::string yaml = "rules:\n";
        for (int i = 0; i < count; ++i) yaml += "- {name: r" + std::to_string(i) + ", action: drop}\n";
        return read(yaml).errors;
    };
    CHECK(many(16384) == Lines{});
    CHECK(many(16385) == Lines{"f:2:1: rules: has 16385 rules; this version takes at most 16384"});
}

TEST_CASE("fw: a set may be a file, one prefix a line")
{
    const TemporaryFile file{"blocked.txt",
                             "# bad people\n192.0.2.0/24\n\n  2001:db8::1  # one\r\n198.51.100.7"};
    const std::string yaml =
        "{sets: {blocked: {file: blocked.txt}}, rules: [{name: r, action: drop, src: $blocked}]}";
    const auto outcome = read(yaml, file.directory() / "evnf.yaml");
    CHECK(outcome.errors == Lines{});
    REQUIRE(outcome.policy.rules.size() == 1);
    CHECK(outcome.policy.rules[0].src->sets == Lines{"blocked"});
    CHECK(texts(outcome.policy.sets.at("blocked")) ==
          Lines{"192.0.2.0/24", "2001:db8::1/128", "198.51.100.7/32"});
}

TEST_CASE("fw: what is wrong in a set's file is said with the file's name and line")
{
    const TemporaryFile file{"blocked.txt", "192.0.2.0/24\nnonsense\n10.0.0.1/8\n"};
    const auto path = (file.directory() / "blocked.txt").string();
    CHECK(read("sets: {blocked: {file: " + path + "}}").errors ==
          Lines{"f:1:24: sets.blocked.file: " + path + ":2: 'nonsense' is no IPv4 or IPv6 address or prefix",
                "f:1:24: sets.blocked.file: " + path +
                    ":3: '10.0.0.1/8' has host bits set; the network is 10.0.0.0/8"});
    CHECK(read("sets: {blocked: {file: /nowhere/at/all}}").errors ==
          Lines{"f:1:24: sets.blocked.file: cannot read /nowhere/at/all: No such file or directory"});
}

TEST_CASE("fw: a policy knows whether it leaves packets to netfilter")
{
    CHECK_FALSE(read("default: drop").policy.leaves_to_netfilter());
    CHECK_FALSE(read("{default: next, rules: [{name: a, action: drop}]}").policy.leaves_to_netfilter());
    CHECK(read("default: netfilter").policy.leaves_to_netfilter());
    CHECK(read("{default: drop, rules: [{name: a, action: netfilter}]}").policy.leaves_to_netfilter());
}
