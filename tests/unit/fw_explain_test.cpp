// SPDX-License-Identifier: MIT
/// A packet in words, and what the firewall says of it.
#include <explain.hpp>
#include <live_sets.hpp>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "catch.hpp"
#include "fw_random_frames.hpp"
#include "fw_random_rules.hpp"

using namespace evnf::test;
using evnf::Node;
using evnf::Problems;
using evnf::fw::RuleBook;
namespace json = boost::json;

namespace {

/// Ports a, b and c, by their letters.
class Letters final : public evnf::Ports {
public:
    int index(std::string_view name) const override { return name.size() == 1 ? name[0] - 'a' : -1; }
    std::string_view name(int index) const override { return index < 3 ? std::string_view{"abc"}.substr(index, 1) : ""; }
};

RuleBook book_of(const std::string& settings)
{
    Problems problems{"f"};
    const auto root = YAML::Load(settings);
    auto policy = evnf::fw::read_policy(Node{root, "", root.Mark(), problems}, Letters{});
    INFO(settings);
    REQUIRE(problems.errors() == std::vector<std::string>{});
    const evnf::fw::LiveSets sets{policy.sets, {}};
    return make_rule_book(std::move(policy), evnf::fw::port_names(Letters{}), sets.all());
}

json::object explained(const RuleBook& book, const std::string& words)
{
    return explain(book, evnf::fw::read_packet(words, book.ports));
}

std::string rule_in(const json::object& answer)
{
    return answer.at("rule").as_string().c_str();
}

std::string understood(const std::string& words)
{
    const auto ports = evnf::fw::port_names(Letters{});
    return to_words(evnf::fw::read_packet(words, ports), ports);
}

/// Why it was not.
std::string refused(const std::string& words)
{
    try {
        return "understood: " + understood(words);
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
}

/// The keys by which the packet misses the one rule with these conditions.
std::string misses(const std::string& conditions, const std::string& words)
{
    const auto book = book_of("{sets: {office: [10.10.0.0/16, \"2001:db8:1::/48\"]}, rules: [{name: r, action: allow, " + conditions + "}]}");
    const auto comparison = compare(book.rules.front(), evnf::fw::read_packet(words, book.ports));
    std::string keys;
    for (const auto key : comparison.differs) keys.append(keys.empty() ? "" : " ").append(key);
    for (const auto key : comparison.open) keys.append(keys.empty() ? "?" : " ?").append(key);
    return keys;
}

std::string address_text(const std::string& bytes)
{
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        text += bytes.size() == 4 ? fmt::format("{}{}", i ? "." : "", byte) : fmt::format("{}{:02x}", i && i % 2 == 0 ? ":" : "", byte);
    }
    return text;
}

/// The frame that was parsed, in words, with nothing left open.
std::string words_for(const Parsed& packet, const std::string& port)
{
    const bool has_header = !packet.later_fragment;
    const bool has_ports = has_header && (packet.protocol == 6 || packet.protocol == 17 || packet.protocol == 132);
    const auto end = [&](const std::string& address, unsigned number) {
        return has_ports ? fmt::format("[{}]:{}", address_text(address), number) : fmt::format("[{}]", address_text(address));
    };
    std::string words = fmt::format("{} {} > {} in {} dscp {}", packet.protocol, end(packet.src, packet.sport), end(packet.dst, packet.dport), port, packet.tos / 4);
    words += fmt::format(" fragment {}", packet.later_fragment ? "later" : packet.first_fragment ? "first" : "no");
    if (!packet.vlans.empty()) words += fmt::format(" vlan {}", packet.vlans[0]);
    if (packet.vlans.size() > 1) words += fmt::format(" inner_vlan {}", packet.vlans[1]);
    words += " mac ";
    for (std::size_t i = 0; i < 6; ++i) words += fmt::format("{}{:02x}", i ? ":" : "", static_cast<unsigned char>(packet.src_mac[i]));
    if (has_header && packet.protocol == 6) {
        constexpr const char* names[] = {"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"};
        std::string flags;
        for (int bit = 0; bit < 8; ++bit)
            if (packet.tcp_flags >> bit & 1) flags.append(flags.empty() ? "" : ",").append(names[bit]);
        words += " flags " + (flags.empty() ? "none" : flags);
    }
    if (has_header && packet.protocol == (packet.ip_version == 4 ? 1u : 58u)) words += fmt::format(" icmp {}/{}", packet.icmp_type, packet.icmp_code);
    return words;
}

} // namespace

TEST_CASE("fw explain: a packet in words is understood, and what it does not say is filled in")
{
    CHECK(understood("tcp 10.1.0.2:1234 > 10.2.0.2:80") == "tcp 10.1.0.2:1234 > 10.2.0.2:80 flags syn dscp cs0 fragment no state new");
    CHECK(understood("tcp 10.1.0.2>10.2.0.2:80") == "tcp 10.1.0.2 > 10.2.0.2:80 flags syn dscp cs0 fragment no state new");
    CHECK(understood("6 [2001:db8::1]:5 > [2001:db8::2]:80 flags syn,ack state established") ==
          "tcp [2001:db8::1]:5 > [2001:db8::2]:80 flags syn,ack dscp cs0 fragment no state established");
    CHECK(understood("tcp 10.1.0.2:1 > 10.2.0.2:80 flags none") == "tcp 10.1.0.2:1 > 10.2.0.2:80 flags none dscp cs0 fragment no state new");
    CHECK(understood("icmp 10.1.0.2 > 10.2.0.2") == "icmp 10.1.0.2 > 10.2.0.2 icmp echo-request/0 dscp cs0 fragment no state new");
    CHECK(understood("icmpv6 2001:db8::1 > 2001:db8::2 icmp time-exceeded/1") ==
          "icmpv6 2001:db8::1 > 2001:db8::2 icmp time-exceeded/1 dscp cs0 fragment no state new");
    CHECK(understood("udp 10.1.0.2 > 10.2.0.2 fragment later in b vlan 7 inner_vlan 8 mac 02:00:5E:10:00:01 dscp ef state related") ==
          "udp 10.1.0.2 > 10.2.0.2 in b vlan 7 inner_vlan 8 mac 02:00:5e:10:00:01 dscp ef fragment later state related");
    CHECK(understood("58 10.1.0.2 > 10.2.0.2") == "58 10.1.0.2 > 10.2.0.2 dscp cs0 fragment no state new");
    CHECK(understood("gre 10.1.0.2 > 10.2.0.2 state invalid") == "gre 10.1.0.2 > 10.2.0.2 dscp cs0 fragment no state invalid");
}

TEST_CASE("fw explain: what is understood is understood the same once more")
{
    const auto ports = evnf::fw::port_names(Letters{});
    for (const char* words : {"tcp [2001:db8::1]:5 > [2001:db8::2]:80 in c", "icmp 10.1.0.2 > 10.2.0.2 icmp 3/4", "udp 10.1.0.2 > 10.2.0.2:53 vlan 4095"}) {
        const auto packet = evnf::fw::read_packet(words, ports);
        CHECK((evnf::fw::read_packet(to_words(packet, ports), ports) == packet));
    }
}

TEST_CASE("fw explain: what cannot be understood is said")
{
    const std::string form = "a packet is described as PROTO SRC[:PORT] > DST[:PORT] [KEY VALUE]…, such as 'tcp 10.1.0.2:1234 > 10.2.0.2:80 in eth0'";
    CHECK(refused("") == form);
    CHECK(refused("tcp 10.1.0.2:1 10.2.0.2:80") == form);
    CHECK(refused("tpc 10.1.0.2:1 > 10.2.0.2:80") ==
          "the protocol, if it is no name such as tcp, udp or icmp, must be a number from 0 to 255, not 'tpc'");
    CHECK(refused("tcp 10.1.0.300:1 > 10.2.0.2:80") == "'10.1.0.300:1' must be ADDRESS, ADDRESS:PORT or, in IPv6, [ADDRESS]:PORT");
    CHECK(refused("tcp [2001:db8::1]80 > [2001:db8::2]") == "'[2001:db8::1]80' must be ADDRESS, ADDRESS:PORT or, in IPv6, [ADDRESS]:PORT");
    CHECK(refused("tcp 10.1.0.2:65536 > 10.2.0.2:80") == "a port must be a number from 0 to 65535, not '65536'");
    CHECK(refused("tcp 10.1.0.2:1 > [2001:db8::2]:80") == "one address is IPv4 and the other IPv6");
    CHECK(refused("icmpv6 10.1.0.2 > 10.2.0.2") == "IPv4 has icmp, not icmpv6");
    CHECK(refused("icmp 2001:db8::1 > 2001:db8::2") == "IPv6 has icmpv6, not icmp");
    CHECK(refused("icmp 10.1.0.2:1 > 10.2.0.2") == "a packet of protocol icmp has no ports");
    CHECK(refused("udp 10.1.0.2:1 > 10.2.0.2 fragment later") == "a later fragment has no ports");
    CHECK(refused("udp 10.1.0.2:1 > 10.2.0.2:2 flags syn") == "a packet of protocol udp has no TCP flags");
    CHECK(refused("udp 10.1.0.2:1 > 10.2.0.2:2 icmp 8") == "a packet of protocol udp has no ICMP type");
    CHECK(refused("tcp 10.1.0.2:1 > 10.2.0.2:2 flags sin") == "'sin' is no TCP flag; there are fin, syn, rst, psh, ack, urg, ece, cwr, and none");
    CHECK(refused("tcp 10.1.0.2:1 > 10.2.0.2:2 in d") == "there is no port 'd' in ports");
    CHECK(refused("tcp 10.1.0.2:1 > 10.2.0.2:2 in") == "'in' has no value");
    CHECK(refused("tcp 10.1.0.2:1 > 10.2.0.2:2 in a in b") == "'in' is there twice");
    CHECK(refused("tcp 10.1.0.2:1 > 10.2.0.2:2 port a") == "'port' is none of in, vlan, inner_vlan, mac, dscp, flags, icmp, fragment and state");
    CHECK(refused("tcp 10.1.0.2:1 > 10.2.0.2:2 inner_vlan 3") == "inner_vlan needs vlan, the outer tag");
    CHECK(refused("tcp 10.1.0.2:1 > 10.2.0.2:2 mac 1:2:3") == "mac must be a MAC address such as 02:00:5e:10:00:01, not '1:2:3'");
    CHECK(refused("tcp 10.1.0.2:1 > 10.2.0.2:2 state old") == "state must be one of new, established, related, invalid, not 'old'");
    CHECK(refused("tcp 10.1.0.2:1 > 10.2.0.2:2 fragment yes") == "fragment must be one of no, first, later, not 'yes'");
}

TEST_CASE("fw explain: each condition is met, or is what differs")
{
    const std::string tcp = "tcp 10.10.0.2:1234 > 10.2.0.2:80", ping = "icmp 10.10.0.2 > 10.2.0.2", tcp6 = "tcp [2001:db8:1::2]:1234 > [2001:db8:2::2]:80";
    const std::vector<std::array<std::string, 3>> cases{
        {"src: 10.10.0.0/16", tcp, ""},          {"src: 10.10.0.3", tcp, "src"},           {"src: $office", tcp, ""},
        {"src: $office", tcp6, ""},              {"src: \"!$office\"", tcp, "src"},         {"src: \"!10.0.0.0/8\"", tcp6, ""},
        {"src: 0.0.0.0/0", tcp6, "src"},         {"dst: \"::/0\"", tcp, "dst"},             {"dst: 10.2.0.2/31", tcp, ""},
        {"dst: \"2001:db8:2::/47\"", tcp6, ""},  {"sport: 1234", tcp, ""},                  {"sport: 1-1233", tcp, "sport"},
        {"dport: [79-80]", tcp, ""},             {"dport: [79, 81-90]", tcp, "dport"},      {"dport: 80", ping, "dport"},
        {"proto: udp", tcp, "proto"},            {"proto: [udp, tcp]", tcp, ""},            {"proto: udp, dport: 81", tcp, "proto dport"},
        {"proto: tcp, tcp_flags: syn", tcp, ""}, {"proto: tcp, tcp_flags: \"!syn\"", tcp, "tcp_flags"},
        {"proto: tcp, tcp_flags: \"syn,!ack\"", tcp + " flags syn,ack", "tcp_flags"},
        {"proto: icmp, icmp_type: echo-request", ping, ""},
        {"proto: icmp, icmp_type: [8/1, 9]", ping, "icmp_type"},
        {"proto: icmp, icmp_type: [8/1, 9]", ping + " icmp 8/1", ""},
        {"proto: icmp, icmp_type: 8", ping + " fragment later", "icmp_type"},
        {"vlan: [5, 7]", tcp, "vlan"},           {"vlan: [5, 7]", tcp + " vlan 7", ""},     {"inner_vlan: 7", tcp + " vlan 7", "inner_vlan"},
        {"inner_vlan: 8", tcp + " vlan 7 inner_vlan 8", ""},
        {"dscp: ef", tcp, "dscp"},               {"dscp: [cs0, ef]", tcp, ""},              {"dscp: [ef]", tcp + " dscp 46", ""},
        {"fragment: no", tcp, ""},               {"fragment: yes", tcp, "fragment"},        {"fragment: yes", tcp + " fragment first", ""},
        {"dport: 80", "tcp 10.10.0.2 > 10.2.0.2 fragment later", "dport"},
        {"in_port: a", tcp, "?in_port"},         {"in_port: a", tcp + " in a", ""},         {"in_port: [b, c]", tcp + " in a", "in_port"},
        {"src_mac: 02:00:00:00:00:01", tcp, "?src_mac"},
        {"src_mac: 02:00:00:00:00:01", tcp + " mac 02:00:00:00:00:01", ""},
        {"src_mac: 02:00:00:00:00:01", tcp + " mac 02:00:00:00:00:02", "src_mac"},
        {"sport: 7", "udp 10.10.0.2 > 10.2.0.2:80", "?sport"},
        {"sport: 7, dst: 10.2.0.3", "udp 10.10.0.2 > 10.2.0.2:80", "dst ?sport"},
    };
    for (const auto& [conditions, words, keys] : cases) {
        INFO(conditions << " | " << words);
        CHECK(misses(conditions, words) == keys);
    }
}

TEST_CASE("fw explain: the answer names the rule, and those that one condition keeps from matching")
{
    const auto book = book_of(
        "{default: next, sets: {office: [10.10.0.0/16, 10.11.0.0/16]}, rules: ["
        "{name: ssh, proto: tcp, dport: 22, action: allow},"
        "{name: far, proto: udp, dport: 22, action: allow},"
        "{name: staff, src: $office, action: drop},"
        "{name: web, proto: tcp, dport: [80, 443], action: allow},"
        "{name: many, dport: [1, 2, 3, 4-5, 6, 7], action: netfilter},"
        "{name: too, dport: 80, action: drop}]}");
    CHECK(explained(book, "tcp 10.1.0.2:1234 > 10.2.0.2:80") == json::parse(R"({
        "packet": "tcp 10.1.0.2:1234 > 10.2.0.2:80 flags syn dscp cs0 fragment no state new", "rule": "web", "action": "allow",
        "nearly": [{"rule": "ssh", "action": "allow", "differs": ["dport"], "wants": "22"},
                   {"rule": "staff", "action": "drop", "differs": ["src"], "wants": "$office"},
                   {"rule": "many", "action": "netfilter", "differs": ["dport"], "wants": "1, 2, 3, 4-5, 2 more"}]})"));
    const auto other = explained(book, "gre 10.1.0.2 > 10.2.0.2");
    CHECK(rule_in(other) == "default");
    CHECK(other.at("action") == json::value("next"));
}

TEST_CASE("fw explain: a rule about what the description leaves open is said to be one on which it depends")
{
    const auto book = book_of(
        "{rules: [{name: lan, in_port: [a, b], src_mac: 02:00:00:00:00:01, action: drop}, {name: dns, sport: 53, action: drop},"
        "{name: web, dport: 80, action: allow}, {name: later, in_port: a, action: drop}]}");
    const auto answer = explained(book, "tcp 10.1.0.2 > 10.2.0.2:80");
    CHECK(rule_in(answer) == "web");
    CHECK(answer.at("depends_on") == json::parse(R"([{"rule": "lan", "action": "drop", "on": ["src_mac", "in_port"],
        "wants": "02:00:00:00:00:01; a, b"}, {"rule": "dns", "action": "drop", "on": ["sport"], "wants": "53"}])"));
    CHECK_FALSE(explained(book, "tcp 10.1.0.2:9 > 10.2.0.2:80 in c").contains("depends_on"));
    CHECK(explained(book, "tcp 10.1.0.2:9 > 10.2.0.2:80 in b mac 02:00:00:00:00:01").at("rule") == json::value("lan"));
}

TEST_CASE("fw explain: of many that nearly match, the first are named")
{
    std::string rules;
    for (int i = 0; i < 40; ++i) rules += fmt::format("{{name: r{}, dport: {}, action: allow}}, ", i, i + 1);
    const auto answer = explained(book_of("{rules: [" + rules + "]}"), "tcp 10.1.0.2:1 > 10.2.0.2:30");
    CHECK(rule_in(answer) == "r29");
    REQUIRE(answer.at("nearly").as_array().size() == 16);
    CHECK(answer.at("nearly").as_array().back().at("rule") == json::value("r15"));
}

TEST_CASE("fw explain: random packets meet the rule that rules tried one after the other say")
{
    const auto seed = std::random_device{}();
    std::mt19937 random{seed};
    for (int policy = 0; policy < 40; ++policy) {
        const auto rules = random_fw_rules(random, 1 + random() % 200);
        const auto settings = fw_settings(rules, "drop");
        const auto book = book_of(settings);
        for (int i = 0; i < 100; ++i) {
            const auto frame = i % 2 ? random_fw_frame(random) : fw_frame_near(random, rules);
            const auto packet = reference_parse(frame);
            if (!packet.problem.empty() || packet.ip_version == 0) continue;
            const std::string port(1, static_cast<char>('a' + random() % 3));
            const auto words = words_for(packet, port);
            const auto answer = explained(book, words);
            const auto expected = fw_decides(rules, packet, port);
            if (rule_in(answer) == expected && !answer.contains("depends_on")) continue;
            INFO("seed " << seed << " " << words << "\n" << settings);
            CHECK(json::serialize(answer) == expected);
        }
    }
}

TEST_CASE("fw explain: a state is a condition, and what a limit does depends on it")
{
    const auto book = book_of("{default: drop, rules: [{name: replies, state: [established, related], action: allow},"
                              " {name: slow, dport: 80, limit: {rate: 1/s}, action: allow}, {name: rest, dport: 80, action: drop}]}");
    CHECK(explained(book, "tcp 10.1.0.2:1234 > 10.2.0.2:80 state established").at("rule") == "replies");
    const auto fresh = explained(book, "tcp 10.1.0.2:1234 > 10.2.0.2:80");
    CHECK(fresh.at("rule") == "rest");
    CHECK(fresh.at("depends_on").at(0).at("rule") == "slow");
    CHECK(fresh.at("nearly").at(0).at("wants") == "established, related");
}
