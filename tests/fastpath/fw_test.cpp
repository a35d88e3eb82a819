// SPDX-License-Identifier: MIT
/// The firewall in the kernel, packet by packet.
#include <boost/json.hpp>

#include "catch.hpp"
#include "chain.hpp"
#include "fw_model.hpp"
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

TEST_CASE("fw: random rules decide random packets as rules tried one after the other do")
{
    const auto seed = std::random_device{}();
    std::mt19937 random{seed};
    for (int policy = 0; policy < 12; ++policy) {
        const auto model = random_fw_rules(random, 1 + random() % 128);
        const auto settings = fw_settings(model, "drop");
        Chain chain{configuration(settings)};
        for (int i = 0; i < 400; ++i) {
            const auto frame = random_fw_frame(random);
            const std::string port(1, static_cast<char>('a' + random() % 3));
            INFO("seed " << seed << " port " << port << " " << describe(frame) << "\n" << settings);
            REQUIRE(decide(chain, frame, port) == fw_decides(model, reference_parse(frame), port));
        }
    }
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

TEST_CASE("fw: replacing all of 128 rules again and again keeps the counters right")
{
    const auto policy = [](int generation) {
        std::string list;
        for (int i = 0; i < 128; ++i)
            list += "{name: g" + std::to_string(generation) + "r" + std::to_string(i) +
                    ", dport: " + std::to_string(i) + ", action: allow}, ";
        return rules(list);
    };
    Chain chain{policy(0)};
    for (int generation = 1; generation < 6; ++generation) {
        chain.run("a", to_port(127));
        chain.reload(policy(generation));
        CHECK(counters(chain)[127].packets == 0);
        chain.run("a", to_port(127));
        CHECK(counters(chain)[127].packets == 1);
        CHECK(counters(chain)[126].packets == 0);
    }
}

TEST_CASE("fw: more than 128 rules are refused, and the old ones go on")
{
    std::string list;
    for (int i = 0; i < 129; ++i) list += "{name: r" + std::to_string(i) + ", action: drop}, ";
    Chain chain{rules("{name: web, dport: 80, action: allow}")};
    try {
        chain.reload(rules(list));
        FAIL("129 rules were taken");
    } catch (const std::runtime_error& error) {
        CHECK(std::string{error.what()}.find("has 129 rules; this version takes at most 128") !=
              std::string::npos);
    }
    CHECK(decide(chain, to_port(80)) == "web");
}
