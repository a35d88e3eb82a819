// SPDX-License-Identifier: MIT
/// The firewall in the kernel, packet by packet.
#include <boost/json.hpp>

#include <algorithm>
#include <chrono>
#include <thread>

#include "catch.hpp"
#include "chain.hpp"
#include "packet.hpp"

using namespace evnf::test;

namespace {

/// Ports a, b and c, each with the chain [fw].
std::string configuration(const std::string& settings)
{
    return "ports: [{name: a, chain: [fw]}, {name: b, chain: [fw]}, {name: c, chain: [fw]}]\nplugins: {fw: " +
           settings + "}\n";
}

/// Rules in flow style, with default drop.
std::string rules(const std::string& list)
{
    return configuration("{default: drop, rules: [" + list + "]}");
}

std::string rule_of(const Result& result)
{
    return result.plugins.at("fw").at("rule").as_string().c_str();
}

std::string decide(Chain& chain, const Frame& frame, const std::string& port = "a")
{
    return rule_of(chain.run(port, frame));
}

struct Counted {
    std::string name, action;
    std::uint64_t packets, bytes;
    bool operator==(const Counted&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Counted& counted)
{
    return out << counted.name << " " << counted.action << " " << counted.packets << " " << counted.bytes;
}

std::vector<Counted> counters(Chain& chain)
{
    std::vector<Counted> all;
    const auto answer = chain.query("fw", "rules");
    for (const auto& entry : answer.as_array())
        all.push_back({entry.at("name").as_string().c_str(), entry.at("action").as_string().c_str(),
                       entry.at("packets").to_number<std::uint64_t>(),
                       entry.at("bytes").to_number<std::uint64_t>()});
    return all;
}

Frame to_port(std::uint16_t port)
{
    return packet(Eth{}, Ipv4{}, Tcp{.dport = port});
}

/// Rules g0r0, g0r1, … about a port each.
std::string generation_of_rules(int generation, int count)
{
    std::string list;
    for (int i = 0; i < count; ++i)
        list += "{name: g" + std::to_string(generation) + "r" + std::to_string(i) +
                ", dport: " + std::to_string(i) + ", action: allow}, ";
    return rules(list);
}

} // namespace

TEST_CASE("fw: the first match decides")
{
    Chain chain{rules(
        "{name: one, dst: 10.2.0.0/16, dport: 80, action: allow}, {name: two, dst: 10.2.0.2, action: drop}")};
    CHECK(decide(chain, to_port(80)) == "one");
    CHECK(decide(chain, to_port(81)) == "two");
    chain.reload(rules(
        "{name: two, dst: 10.2.0.2, action: drop}, {name: one, dst: 10.2.0.0/16, dport: 80, action: allow}"));
    CHECK(decide(chain, to_port(80)) == "two");
}

TEST_CASE("fw: an action is a verdict with its reason")
{
    const auto verdict = [](const char* action) {
        Chain chain{rules("{name: r, action: " + std::string{action} + "}")};
        return chain.run("a", to_port(80));
    };
    const auto allowed = verdict("allow"), dropped = verdict("drop"), left = verdict("netfilter");
    CHECK(allowed.verdict == EVNF_FORWARD);
    CHECK(allowed.stage == "forwarder");
    CHECK(dropped.verdict == EVNF_DROP);
    CHECK(dropped.reason == "rule");
    CHECK(dropped.stage == "fw");
    CHECK(left.verdict == EVNF_KERNEL);
    CHECK(left.reason == "rule");
}

TEST_CASE("fw: the default decides where no rule matches")
{
    const auto verdict = [](const char* fallback) {
        Chain chain{configuration("{default: " + std::string{fallback} +
                                  ", rules: [{name: r, dport: 22, action: drop}]}")};
        return chain.run("a", to_port(80));
    };
    const auto next = verdict("next"), dropped = verdict("drop"), left = verdict("netfilter");
    CHECK(next.verdict == EVNF_FORWARD);
    CHECK(rule_of(next) == "default");
    CHECK(dropped.verdict == EVNF_DROP);
    CHECK(dropped.reason == "default");
    CHECK(left.verdict == EVNF_KERNEL);
    CHECK(left.reason == "default");
}

TEST_CASE("fw: a firewall without rules leaves everything to its default")
{
    Chain chain{configuration("{default: drop}")};
    CHECK(chain.run("a", to_port(80)).reason == "default");
}

TEST_CASE("fw: a rule about port 22 does not accept ICMP, GRE or anything else without ports")
{
    Chain chain{rules("{name: ssh, dport: 22, action: allow}, {name: from0, sport: 0, action: allow}")};
    CHECK(decide(chain, to_port(22)) == "ssh");
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Udp{.dport = 22})) == "ssh");
    CHECK(decide(chain, packet(Eth{}, Ipv6{}, Sctp{.dport = 22})) == "ssh");
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Icmp{})) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv6{}, Icmpv6{})) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.protocol = 47}, Raw{{0, 22, 0, 22, 0, 0, 0, 0}})) == "default");
}

TEST_CASE("fw: GRE, ESP and unknown protocols do not pass a default of drop")
{
    Chain chain{rules("{name: tcp, proto: tcp, action: allow}, {name: udp, proto: udp, action: allow}")};
    for (const std::uint8_t protocol : {47, 50, 51, 115, 253}) {
        INFO("protocol " << +protocol);
        CHECK(chain.run("a", packet(Eth{}, Ipv4{.protocol = protocol}, Payload{std::string(32, 'x')}))
                  .verdict == EVNF_DROP);
    }
    CHECK(chain.run("a", packet(Eth{}, Ipv6{.next = 50}, Payload{std::string(32, 'x')})).verdict ==
          EVNF_DROP);
}

TEST_CASE("fw: a later fragment never matches by ports, ICMP type or TCP flags")
{
    Chain chain{rules(
        "{name: web, proto: tcp, dport: 0-65535, action: allow}, {name: from, sport: 0, action: allow}, "
        "{name: none, proto: tcp, tcp_flags: \"!syn\", action: allow}, "
        "{name: reply, proto: [icmp, icmpv6], icmp_type: 0, action: allow}")};
    const Payload text{std::string(32, '\0')};
    CHECK(decide(chain, packet(Eth{}, Ipv4{.more_fragments = true}, Tcp{.dport = 80}, text)) == "web");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.fragment_offset = 4, .protocol = 6}, text)) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.fragment_offset = 4, .protocol = 17}, text)) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.fragment_offset = 4, .protocol = 1}, text)) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv6{}, Fragment{.offset = 4, .next = 6}, text)) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv6{}, Fragment{.offset = 4, .next = 58}, text)) == "default");
}

TEST_CASE("fw: a rule without ports takes fragments too")
{
    Chain chain{
        rules("{name: tcp, proto: tcp, action: allow}, {name: all, src: 10.1.0.0/16, action: allow}")};
    const Payload text{std::string(32, 'x')};
    CHECK(decide(chain, packet(Eth{}, Ipv4{.fragment_offset = 4, .protocol = 6}, text)) == "tcp");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.fragment_offset = 4, .protocol = 17}, text)) == "all");
}

TEST_CASE("fw: a VLAN tag hides nothing")
{
    Chain chain{configuration("{default: next, rules: [{name: ssh, proto: tcp, dport: 22, action: drop}]}")};
    CHECK(chain.run("a", packet(Eth{}, Vlan{.id = 7}, Ipv4{}, Tcp{.dport = 22})).verdict == EVNF_DROP);
    CHECK(
        chain.run("a", packet(Eth{}, Vlan{.id = 7, .tpid = 0x88a8}, Vlan{.id = 9}, Ipv6{}, Tcp{.dport = 22}))
            .verdict == EVNF_DROP);
}

TEST_CASE("fw: vlan is the id of the outer tag")
{
    Chain chain{rules("{name: seven, vlan: [7, 8], action: allow}, {name: zero, vlan: 0, action: allow}")};
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 7}, Ipv4{}, Udp{})) == "seven");
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 8}, Vlan{.id = 9}, Ipv4{}, Udp{})) == "seven");
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 9}, Vlan{.id = 7}, Ipv4{}, Udp{})) == "default");
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 0}, Ipv4{}, Udp{})) == "zero");
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Udp{})) == "default");
}

TEST_CASE("fw: inner_vlan is the id of the second tag")
{
    Chain chain{rules(
        "{name: both, vlan: 7, inner_vlan: 9, action: allow}, {name: nine, inner_vlan: [9, 10], action: "
        "allow}, {name: zero, inner_vlan: 0, action: allow}")};
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 7}, Vlan{.id = 9}, Ipv4{}, Udp{})) == "both");
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 7, .tpid = 0x88a8}, Vlan{.id = 9}, Ipv6{}, Udp{})) ==
          "both");
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 8}, Vlan{.id = 10}, Ipv4{}, Udp{})) == "nine");
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 9}, Vlan{.id = 7}, Ipv4{}, Udp{})) == "default");
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 9}, Ipv4{}, Udp{})) == "default");
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 0}, Ipv4{}, Udp{})) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Udp{})) == "default");
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 9}, Vlan{.id = 0}, Ipv4{}, Udp{})) == "zero");
}

TEST_CASE("fw: src_mac is the frame's own source")
{
    Chain chain{
        rules("{name: one, src_mac: \"02:00:00:00:00:02\", dport: 80, action: allow}, "
              "{name: list, src_mac: [\"02:00:00:00:00:02\", \"02:AA:bb:cc:dd:0e\"], action: allow}")};
    const auto from = [](const std::string& mac, std::uint16_t port) {
        return packet(Eth{.src = mac}, Ipv4{}, Tcp{.dport = port});
    };
    CHECK(decide(chain, from("02:00:00:00:00:02", 80)) == "one");
    CHECK(decide(chain, from("02:00:00:00:00:02", 81)) == "list");
    CHECK(decide(chain, from("02:aa:bb:cc:dd:0e", 80)) == "list");
    CHECK(decide(chain, packet(Eth{.src = "02:aa:bb:cc:dd:0e"}, Vlan{.id = 7}, Ipv6{}, Udp{})) == "list");
    for (const char* mac : {"02:00:00:00:00:03", "03:00:00:00:00:02", "02:00:01:00:00:02",
                            "02:aa:bb:cc:dd:0f", "00:00:00:00:00:00"}) {
        INFO(mac);
        CHECK(decide(chain, from(mac, 80)) == "default");
    }
    CHECK(decide(chain, packet(Eth{.dst = "02:aa:bb:cc:dd:0e", .src = "02:00:00:00:00:01"}, Ipv4{}, Udp{})) ==
          "default");
}

TEST_CASE("fw: dscp is the upper six bits, whatever ECN says")
{
    Chain chain{
        rules("{name: voice, dscp: ef, action: allow}, {name: list, dscp: [af41, 0, 63], action: allow}")};
    const std::vector<std::pair<std::uint8_t, const char*>> expected{{46 << 2, "voice"},
                                                                     {46 << 2 | 1, "voice"},
                                                                     {46 << 2 | 3, "voice"},
                                                                     {45 << 2 | 3, "default"},
                                                                     {47 << 2, "default"},
                                                                     {46, "default"},
                                                                     {34 << 2, "list"},
                                                                     {34 << 2 | 2, "list"},
                                                                     {33 << 2 | 3, "default"},
                                                                     {0, "list"},
                                                                     {3, "list"},
                                                                     {1 << 2, "default"},
                                                                     {0xff, "list"},
                                                                     {62 << 2 | 3, "default"},
                                                                     {0xfc, "list"}};
    for (const auto& [tos, rule] : expected) {
        INFO("TOS " << +tos);
        CHECK(decide(chain, packet(Eth{}, Ipv4{.tos = tos}, Udp{})) == rule);
        CHECK(decide(chain, packet(Eth{}, Ipv6{.traffic_class = tos, .flow_label = 0xfffff}, Udp{})) == rule);
    }
}

TEST_CASE("fw: fragment tells whole packets, first fragments and later ones apart")
{
    const Payload text{std::string(32, 'x')};
    const std::vector<Frame> whole{
        packet(Eth{}, Ipv4{}, Udp{}, text), packet(Eth{}, Ipv4{.dont_fragment = true}, Udp{}, text),
        packet(Eth{}, Ipv6{}, Udp{}, text), packet(Eth{}, Ipv6{}, Fragment{}, Udp{}, text)};
    const std::vector<Frame> first{packet(Eth{}, Ipv4{.more_fragments = true}, Udp{}, text),
                                   packet(Eth{}, Ipv6{}, Fragment{.more = true}, Udp{}, text),
                                   packet(Eth{}, Ipv6{}, HopByHop{}, Fragment{.more = true}, Udp{}, text)};
    const std::vector<Frame> later{
        packet(Eth{}, Ipv4{.fragment_offset = 4, .protocol = 17}, text),
        packet(Eth{}, Ipv4{.more_fragments = true, .fragment_offset = 8191, .protocol = 17}, text),
        packet(Eth{}, Ipv6{}, Fragment{.offset = 1, .next = 17}, text),
        packet(Eth{}, Ipv6{}, Fragment{.offset = 8000, .more = true, .next = 17}, text)};
    struct Expected {
        const char* word;
        bool whole, first, later;
    };
    for (const auto& [word, of_whole, of_first, of_later] :
         {Expected{"yes", false, true, true}, Expected{"no", true, false, false},
          Expected{"first", false, true, false}, Expected{"later", false, false, true}}) {
        INFO("fragment: " << word);
        Chain chain{rules("{name: r, fragment: " + std::string{word} + ", action: allow}")};
        const auto check = [&](const std::vector<Frame>& frames, bool matches) {
            for (const auto& frame : frames) {
                INFO(describe(frame));
                CHECK(decide(chain, frame) == (matches ? "r" : "default"));
            }
        };
        check(whole, of_whole);
        check(first, of_first);
        check(later, of_later);
    }
}

TEST_CASE("fw: fragment and ports go together where there are ports")
{
    Chain chain{rules(
        "{name: first, fragment: first, dport: 53, action: allow}, {name: whole, fragment: no, dport: 53, "
        "action: allow}")};
    const Payload text{std::string(32, '\0')};
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Udp{.dport = 53}, text)) == "whole");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.more_fragments = true}, Udp{.dport = 53}, text)) == "first");
    CHECK(decide(chain, packet(Eth{}, Ipv6{}, Fragment{.more = true}, Udp{.dport = 53}, text)) == "first");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.more_fragments = true}, Udp{.dport = 54}, text)) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.fragment_offset = 4}, Udp{.dport = 53}, text)) == "default");
}

TEST_CASE("fw: an ICMP type may come with a code")
{
    Chain chain{
        rules("{name: too_big, proto: icmp, icmp_type: destination-unreachable/4, action: allow}, "
              "{name: ports, proto: [icmp, icmpv6], icmp_type: [\"3/3\", \"1/4\"], action: allow}, "
              "{name: any, proto: icmp, icmp_type: [11, \"5/1\"], action: allow}, "
              "{name: zero, proto: icmpv6, icmp_type: echo-request/0, action: allow}")};
    const auto v4 = [&](std::uint8_t type, std::uint8_t code) {
        return decide(chain, packet(Eth{}, Ipv4{}, Icmp{.type = type, .code = code}));
    };
    const auto v6 = [&](std::uint8_t type, std::uint8_t code) {
        return decide(chain, packet(Eth{}, Ipv6{}, Icmpv6{.type = type, .code = code}));
    };
    CHECK(v4(3, 4) == "too_big");
    CHECK(v4(3, 3) == "ports");
    CHECK(v4(3, 0) == "default");
    CHECK(v4(3, 5) == "default");
    CHECK(v4(4, 4) == "default");
    CHECK(v4(4, 3) == "default");
    CHECK(v4(1, 4) == "ports");
    CHECK(v4(11, 0) == "any");
    CHECK(v4(11, 255) == "any");
    CHECK(v4(5, 1) == "any");
    CHECK(v4(5, 0) == "default");
    CHECK(v6(1, 4) == "ports");
    CHECK(v6(3, 4) == "default");
    CHECK(v6(3, 3) == "ports");
    CHECK(v6(128, 0) == "zero");
    CHECK(v6(128, 1) == "default");
    const Raw bytes{{3, 4, 0, 0, 0, 0, 0, 0}};
    CHECK(decide(chain, packet(Eth{}, Ipv6{.next = 1}, bytes)) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.fragment_offset = 4, .protocol = 1}, bytes)) == "default");
}

TEST_CASE("fw: IPv4 options and IPv6 extension headers hide nothing")
{
    Chain chain{configuration("{default: next, rules: [{name: ssh, proto: tcp, dport: 22, action: drop}]}")};
    CHECK(chain.run("a", packet(Eth{}, Ipv4{.options = std::string(40, '\1')}, Tcp{.dport = 22})).verdict ==
          EVNF_DROP);
    CHECK(
        chain.run("a", packet(Eth{}, Ipv6{}, HopByHop{}, DestOpts{}, Routing{}, Tcp{.dport = 22})).verdict ==
        EVNF_DROP);
    CHECK(chain.run("a", packet(Eth{}, Ipv6{}, AuthHeader{}, Tcp{.dport = 22})).verdict == EVNF_DROP);
}

TEST_CASE("fw: both ends of a range of ports are in it")
{
    Chain chain{
        rules("{name: low, dport: 0-22, action: allow}, {name: mid, dport: 8000-8080, action: allow}, "
              "{name: high, dport: 65000-65535, action: allow}")};
    const std::vector<std::pair<std::uint16_t, const char*>> expected{
        {0, "low"},    {22, "low"},       {23, "default"},    {7999, "default"}, {8000, "mid"},
        {8080, "mid"}, {8081, "default"}, {64999, "default"}, {65000, "high"},   {65535, "high"}};
    for (const auto& [port, rule] : expected) {
        INFO("port " << port);
        CHECK(decide(chain, to_port(port)) == rule);
    }
}

TEST_CASE("fw: of many overlapping ranges of ports the first that holds the port decides")
{
    std::vector<std::pair<int, int>> ranges;
    std::string list;
    for (int i = 0; i < 100; ++i) {
        const int first = i * 7919 % 64000, last = std::min(first + i * 613 % 5000, 65535);
        ranges.emplace_back(first, last);
        list += "{name: r" + std::to_string(i) +
                ", proto: tcp, dst: 10.2.0.0/16, dport: " + std::to_string(first) + "-" +
                std::to_string(last) + ", action: allow}, ";
    }
    const auto expected = [&](int port) {
        const auto found = std::find_if(ranges.begin(), ranges.end(),
                                        [&](const auto& r) { return port >= r.first && port <= r.second; });
        return found == ranges.end() ? "default" : "r" + std::to_string(found - ranges.begin());
    };
    Chain chain{rules(list)};
    for (const auto& [first, last] : ranges)
        for (const int port : {first - 1, first, (first + last) / 2, last, last + 1}) {
            if (port < 0 || port > 65535) continue;
            INFO("port " << port);
            CHECK(decide(chain, to_port(static_cast<std::uint16_t>(port))) == expected(port));
        }
}

TEST_CASE("fw: a set of thousands of prefixes, and its negation")
{
    std::string networks;
    for (int i = 0; i < 5000; ++i)
        networks += "100." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ".0/25, ";
    Chain chain{
        configuration("{default: drop, sets: {many: [" + networks +
                      "\"2001:db8:1::/48\"]}, rules: [{name: in, src: $many, dport: 1, action: allow}, "
                      "{name: out, src: \"!$many\", dport: 2, action: allow}, {name: to, dst: $many, dport: "
                      "2, action: allow}]}")};
    const auto v4 = [&](const char* src, std::uint16_t port) {
        return decide(chain, packet(Eth{}, Ipv4{.src = src}, Udp{.dport = port}));
    };
    const auto v6 = [&](const char* src, std::uint16_t port) {
        return decide(chain, packet(Eth{}, Ipv6{.src = src}, Udp{.dport = port}));
    };
    for (const char* inside :
         {"100.0.0.0", "100.0.0.127", "100.7.200.64", "100.19.135.0", "100.19.135.127"}) {
        INFO(inside);
        CHECK(v4(inside, 1) == "in");
        CHECK(v4(inside, 2) == "default");
    }
    for (const char* outside :
         {"99.255.255.255", "100.0.0.128", "100.0.0.255", "100.19.135.128", "100.19.136.0", "10.1.0.2"}) {
        INFO(outside);
        CHECK(v4(outside, 1) == "default");
        CHECK(v4(outside, 2) == "out");
    }
    CHECK(v6("2001:db8:1:ffff::1", 1) == "in");
    CHECK(v6("2001:db8:1:ffff::1", 2) == "default");
    CHECK(v6("2001:db8:2::", 1) == "default");
    CHECK(v6("2001:db8:2::", 2) == "out");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.src = "100.0.0.1", .dst = "100.19.135.9"}, Udp{.dport = 2})) ==
          "to");
}

TEST_CASE("fw: icmp_type, tcp_flags and in_port each decide")
{
    Chain chain{
        rules("{name: ping, proto: [icmp, icmpv6], icmp_type: echo-request, action: allow}, "
              "{name: syn, proto: tcp, tcp_flags: \"syn,!ack\", action: allow}, "
              "{name: inside, in_port: [b, c], action: allow}")};
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Icmp{.type = 8})) == "ping");
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Icmp{.type = 0})) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv6{}, Icmpv6{.type = 128})) == "ping");
    CHECK(decide(chain, packet(Eth{}, Ipv6{}, Icmpv6{.type = 8})) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Tcp{.flags = SYN})) == "syn");
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Tcp{.flags = SYN | PSH})) == "syn");
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Tcp{.flags = SYN | ACK})) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Tcp{.flags = ACK}), "b") == "inside");
    CHECK(decide(chain, packet(Eth{}, Ipv4{}, Tcp{.flags = ACK}), "c") == "inside");
}

TEST_CASE("fw: every packet is counted once, under the rule that decided")
{
    Chain chain{rules("{name: web, dport: 80, action: allow}, {name: ssh, dport: 22, action: netfilter}")};
    const auto web = to_port(80), other = packet(Eth{}, Ipv6{}, Udp{}, Payload{std::string(100, 'x')});
    for (int i = 0; i < 3; ++i) chain.run("a", web);
    chain.run("b", other);
    CHECK(counters(chain) == std::vector<Counted>{{"web", "allow", 3, 3 * web.size()},
                                                  {"ssh", "netfilter", 0, 0},
                                                  {"default", "drop", 1, other.size()}});
}

TEST_CASE("fw: counters survive a reload by the rule's name")
{
    Chain chain{rules("{name: a, dport: 1, action: allow}, {name: b, dport: 2, action: drop}")};
    chain.run("a", to_port(1));
    chain.run("a", to_port(2));
    chain.run("a", to_port(2));
    chain.run("a", to_port(3));
    chain.reload(
        rules("{name: c, dport: 3, action: allow}, {name: b, dport: 2, action: allow}, {name: a, dport: 1, "
              "action: drop}"));
    chain.run("a", to_port(3));
    chain.run("a", to_port(1));
    const auto size = to_port(1).size();
    CHECK(counters(chain) == std::vector<Counted>{{"c", "allow", 1, size},
                                                  {"b", "allow", 2, 2 * size},
                                                  {"a", "drop", 2, 2 * size},
                                                  {"default", "drop", 1, size}});
}

TEST_CASE("fw: a name that comes back later starts from zero")
{
    Chain chain{rules("{name: a, dport: 1, action: allow}")};
    chain.run("a", to_port(1));
    chain.reload(rules("{name: b, dport: 1, action: allow}"));
    chain.reload(rules("{name: a, dport: 1, action: allow}"));
    CHECK(counters(chain).front() == Counted{"a", "allow", 0, 0});
}

TEST_CASE("fw: replacing all of 2000 rules again and again keeps the counters right")
{
    constexpr int kRules = 2000, kLast = kRules - 1;
    Chain chain{generation_of_rules(0, kRules)};
    for (int generation = 1; generation < 5; ++generation) {
        chain.run("a", to_port(kLast));
        chain.reload(generation_of_rules(generation, kRules));
        const auto before = counters(chain);
        REQUIRE(before.size() == kRules + 1);
        CHECK(std::all_of(before.begin(), before.end() - 1,
                          [](const auto& rule) { return rule.packets == 0; }));
        chain.run("a", to_port(kLast));
        const auto after = counters(chain);
        CHECK(after[kLast].name == "g" + std::to_string(generation) + "r1999");
        CHECK(after[kLast].packets == 1);
        CHECK(after[kLast - 1].packets == 0);
        CHECK(after[0].packets == 0);
    }
}

TEST_CASE("fw: more than 16384 rules are refused, and the old ones go on")
{
    Chain chain{rules("{name: web, dport: 80, action: allow}")};
    chain.run("a", to_port(80));
    try {
        chain.reload(generation_of_rules(0, 16385));
        FAIL("16385 rules were taken");
    } catch (const std::runtime_error& error) {
        CHECK(std::string{error.what()}.find("has 16385 rules; this version takes at most 16384") !=
              std::string::npos);
    }
    CHECK(decide(chain, to_port(80)) == "web");
    CHECK(counters(chain).front().packets == 2);
}

TEST_CASE("fw: a rule says when it was last hit, and over a reload too")
{
    Chain chain{rules("{name: web, dport: 80, action: allow}, {name: dns, dport: 53, action: allow}")};
    const auto last_hit = [&](std::size_t rule) { return chain.query("fw", "rules").as_array().at(rule).at("last_hit_s"); };
    CHECK(last_hit(0).is_null());
    chain.run("a", to_port(80));
    CHECK(last_hit(0).to_number<int>() < 2);
    CHECK(last_hit(1).is_null());
    CHECK(last_hit(2).is_null());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    while (last_hit(0).to_number<int>() < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    CHECK(last_hit(0).to_number<int>() >= 2);
    chain.reload(rules("{name: web, dport: 80, action: drop}, {name: dns, dport: 53, action: allow}"));
    CHECK(last_hit(0).to_number<int>() >= 2);
    chain.run("a", to_port(80));
    CHECK(last_hit(0).to_number<int>() < 2);
}

TEST_CASE("fw: rules that are unused, and why")
{
    Chain chain{configuration(
        "{default: drop, sets: {nobody: []}, rules: [{name: web, dport: [80, 443], action: allow}, {name: tls, dport: 443, action: drop},"
        "{name: dns, dport: 53, action: allow}, {name: none, src: $nobody, action: drop}]}")};
    chain.run("a", to_port(80));
    CHECK(chain.query("fw", "unused") == boost::json::parse(R"([{"rule": "tls", "why": "covered", "by": "web"},
        {"rule": "dns", "why": "never hit"}, {"rule": "none", "why": "matches no packet"}])"));
    chain.reload(rules("{name: tls, dport: 443, action: drop}, {name: web, dport: [80, 443], action: allow}"));
    CHECK(chain.query("fw", "unused") == boost::json::parse(R"([{"rule": "tls", "why": "never hit"}])"));
}

TEST_CASE("fw: what it explains of a packet is what happens to it")
{
    Chain chain{rules("{name: lan, in_port: b, action: drop}, {name: ssh, dport: 22, action: drop}, {name: web, dport: 80, action: allow}")};
    const auto explained = chain.query("fw", "explain", {"tcp", "10.1.0.2:1234", ">", "10.2.0.2:80", "in", "a"});
    CHECK(explained.at("rule").as_string() == decide(chain, to_port(80)).c_str());
    CHECK(explained.at("nearly").as_array().size() == 2);
    CHECK(explained.at("nearly").at(0).at("wants") == boost::json::value("b"));
    CHECK(chain.query("fw", "explain", {"tcp 10.1.0.2:1234 > 10.2.0.2:80 in b"}).at("rule").as_string() == decide(chain, to_port(80), "b").c_str());
    CHECK_THROWS_WITH(chain.query("fw", "explain", {"tcp", "10.1.0.2"}), Catch::Matchers::ContainsSubstring("a packet is described as"));
}
