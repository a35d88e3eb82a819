// SPDX-License-Identifier: MIT
/// Random rules of iptables, and packets: what is imported decides as iptables' own semantics do, or leaves it to them.
#include <importer.hpp>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <functional>
#include <optional>
#include <random>
#include <sstream>

#include "catch.hpp"
#include "fw_model.hpp"

using namespace evnf::test;

namespace {

struct Packet {
    Parsed header;
    std::string state, in, out;
};

// ---------------------------------------------------------------- iptables

/// A match: as iptables-save writes it, and what it means.
struct Condition {
    std::string text;
    std::function<bool(const Packet&)> holds;
};

struct IptablesRule {
    std::vector<Condition> conditions;
    std::string target;
    bool go = false;
};

/// Chains lead to later ones only; the first is FORWARD.
using Chains = std::vector<std::vector<IptablesRule>>;

std::string chain_name(std::size_t index)
{
    return index == 0 ? "FORWARD" : fmt::format("chain{}", index);
}

/// ACCEPT, DROP or REJECT; nothing where the packet leaves the chain without.
std::optional<std::string> iptables_decides(const Chains& chains, std::size_t index, const Packet& packet)
{
    for (const auto& rule : chains[index]) {
        if (!std::all_of(rule.conditions.begin(), rule.conditions.end(), [&](const auto& c) { return c.holds(packet); })) continue;
        if (rule.target == "RETURN") return std::nullopt;
        if (rule.target == "ACCEPT" || rule.target == "DROP" || rule.target == "REJECT") return rule.target;
        if (!rule.target.starts_with("chain")) continue;
        const auto decision = iptables_decides(chains, std::stoul(rule.target.substr(5)), packet);
        if (decision || rule.go) return decision;
    }
    return std::nullopt;
}

std::string save_file(const Chains& chains, const std::string& policy)
{
    std::string text = "*filter\n:FORWARD " + policy + " [0:0]\n";
    for (std::size_t i = 1; i < chains.size(); ++i) text += fmt::format(":{} - [0:0]\n", chain_name(i));
    for (std::size_t i = 0; i < chains.size(); ++i)
        for (const auto& rule : chains[i]) {
            text += "-A " + chain_name(i);
            for (const auto& condition : rule.conditions) text += " " + condition.text;
            if (!rule.target.empty()) text += fmt::format(" {} {}", rule.go ? "-g" : "-j", rule.target);
            text += "\n";
        }
    return text + "COMMIT\n";
}

// ---------------------------------------------------------------- random rules

class World {
public:
    explicit World(unsigned seed) : random_{seed} {}

    unsigned below(unsigned bound) { return std::uniform_int_distribution<unsigned>{0, bound - 1}(random_); }
    bool one_in(unsigned n) { return below(n) == 0; }
    template <class T>
    const T& any_of(const std::vector<T>& list) { return list[below(static_cast<unsigned>(list.size()))]; }

    Chains chains()
    {
        Chains chains(1 + below(6));
        for (std::size_t i = 0; i < chains.size(); ++i)
            for (unsigned count = 1 + below(6); count-- > 0;) chains[i].push_back(rule(i, chains.size()));
        return chains;
    }

    Packet packet()
    {
        Packet packet;
        auto& header = packet.header;
        header.ip_version = 4;
        header.src = address();
        header.dst = address();
        header.protocol = any_of(std::vector<unsigned>{1, 6, 6, 17, 47});
        if (header.protocol == 6 || header.protocol == 17) {
            header.sport = below(12);
            header.dport = below(12);
        }
        if (header.protocol == 6) header.tcp_flags = below(64);
        if (header.protocol == 1) {
            header.icmp_type = any_of(std::vector<unsigned>{0, 3, 8, 11});
            header.icmp_code = below(5);
        }
        header.tos = below(3) * 4;
        header.src_mac = std::string{"\x02\0\0\0\0", 5} + static_cast<char>(below(2));
        packet.state = any_of(std::vector<std::string>{"NEW", "ESTABLISHED", "RELATED", "INVALID"});
        packet.in = any_of(std::vector<std::string>{"eth0", "eth1", "wan0"});
        packet.out = any_of(std::vector<std::string>{"eth0", "eth1"});
        return packet;
    }

private:
    std::string address() { return {10, 0, 0, static_cast<char>(below(16))}; }

    IptablesRule rule(std::size_t chain, std::size_t chains)
    {
        IptablesRule rule;
        if (!one_in(4)) add_protocol(rule.conditions);
        for (unsigned count = below(3); count-- > 0;) rule.conditions.push_back(common());
        if (one_in(25)) rule.conditions.push_back(out_interface());
        if (chain + 1 < chains && one_in(2)) {
            rule.target = chain_name(chain + 1 + below(static_cast<unsigned>(chains - chain - 1)));
            rule.go = one_in(3);
        } else {
            rule.target = any_of(std::vector<std::string>{"ACCEPT", "ACCEPT", "DROP", "DROP", "REJECT", "RETURN", "RETURN", "LOG", ""});
        }
        return rule;
    }

    Condition negatable(const std::string& module, const std::string& text, std::function<bool(const Packet&)> holds)
    {
        if (!one_in(3)) return {module + text, std::move(holds)};
        return {module + "! " + text, [holds = std::move(holds)](const Packet& p) { return !holds(p); }};
    }

    Condition network(bool is_src)
    {
        const auto bits = below(5);
        const unsigned first = (below(16) >> bits) << bits;
        const auto holds = [=](const Packet& p) {
            const auto last = static_cast<unsigned char>((is_src ? p.header.src : p.header.dst)[3]);
            return (last ^ first) >> bits == 0;
        };
        return negatable("", fmt::format("{} 10.0.0.{}/{}", is_src ? "-s" : "-d", first, 32 - bits), holds);
    }

    Condition range(bool is_src)
    {
        const unsigned first = below(16), last = first + below(16 - first);
        const auto holds = [=](const Packet& p) {
            const auto at = static_cast<unsigned char>((is_src ? p.header.src : p.header.dst)[3]);
            return at >= first && at <= last;
        };
        return negatable("-m iprange ", fmt::format("--{}-range 10.0.0.{}-10.0.0.{}", is_src ? "src" : "dst", first, last), holds);
    }

    Condition states()
    {
        std::vector<std::string> some;
        for (const auto* state : {"NEW", "ESTABLISHED", "RELATED", "INVALID"})
            if (one_in(2) || (some.empty() && state == std::string{"INVALID"})) some.push_back(state);
        const auto holds = [some](const Packet& p) { return std::find(some.begin(), some.end(), p.state) != some.end(); };
        return negatable("-m conntrack ", fmt::format("--ctstate {}", fmt::join(some, ",")), holds);
    }

    Condition common()
    {
        const auto dscp = below(3);
        const auto mac = below(2);
        switch (below(9)) {
        case 0: case 1: return network(true);
        case 2: case 3: return network(false);
        case 4: return range(one_in(2));
        case 5: return states();
        case 6: return negatable("-m dscp ", fmt::format("--dscp 0x{:02x}", dscp), [=](const Packet& p) { return p.header.tos / 4 == dscp; });
        case 7: return {fmt::format("-m mac --mac-source 02:00:00:00:00:0{}", mac), [=](const Packet& p) { return static_cast<unsigned>(p.header.src_mac[5]) == mac; }};
        default: return negatable("", "-i eth+", [](const Packet& p) { return p.in.starts_with("eth"); });
        }
    }

    Condition out_interface()
    {
        return {"-o eth1", [](const Packet& p) { return p.out == "eth1"; }};
    }

    void add_protocol(std::vector<Condition>& conditions)
    {
        const unsigned protocol = any_of(std::vector<unsigned>{1, 6, 6, 17, 47});
        const auto is = [=](const Packet& p) { return p.header.protocol == protocol; };
        if (one_in(8)) return conditions.push_back(negatable("", fmt::format("-p {}", protocol), is));
        conditions.push_back({fmt::format("-p {}", protocol), is});
        if (one_in(3)) return;
        if (protocol == 1) conditions.push_back(icmp());
        if (protocol == 6 && one_in(2)) return conditions.push_back(flags());
        if (protocol == 6 || protocol == 17) conditions.push_back(one_in(2) ? ports(protocol) : multiport());
    }

    Condition icmp()
    {
        const auto type = any_of(std::vector<unsigned>{0, 3, 8, 11});
        const auto code = below(5);
        if (one_in(2)) return negatable("-m icmp ", fmt::format("--icmp-type {}", type), [=](const Packet& p) { return p.header.icmp_type == type; });
        return negatable("-m icmp ", fmt::format("--icmp-type {}/{}", type, code),
                         [=](const Packet& p) { return p.header.icmp_type == type && p.header.icmp_code == code; });
    }

    Condition flags()
    {
        const std::vector<std::string> names{"FIN", "SYN", "RST", "PSH", "ACK", "URG"};
        const unsigned mask = 1 + below(63), wanted = one_in(8) ? below(64) : mask & below(64);
        const auto text = [&](unsigned bits) {
            std::vector<std::string> words;
            for (unsigned i = 0; i < 6; ++i)
                if (bits >> i & 1) words.push_back(names[i]);
            return words.empty() ? "NONE" : fmt::format("{}", fmt::join(words, ","));
        };
        return negatable("-m tcp ", fmt::format("--tcp-flags {} {}", text(mask), text(wanted)),
                         [=](const Packet& p) { return (p.header.tcp_flags & mask) == wanted; });
    }

    Condition ports(unsigned protocol)
    {
        const unsigned first = below(12), last = first + below(4);
        const bool is_src = one_in(2);
        const auto holds = [=](const Packet& p) {
            const auto port = is_src ? p.header.sport : p.header.dport;
            return port >= first && port <= last;
        };
        return negatable(protocol == 6 ? "-m tcp " : "-m udp ", fmt::format("--{}port {}:{}", is_src ? "s" : "d", first, last), holds);
    }

    Condition multiport()
    {
        const unsigned one = below(12), first = below(12), last = first + below(3);
        const auto in = [=](unsigned port) { return port == one || (port >= first && port <= last); };
        const auto list = fmt::format("{},{}:{}", one, first, last);
        switch (below(3)) {
        case 0: return negatable("-m multiport ", "--sports " + list, [=](const Packet& p) { return in(p.header.sport); });
        case 1: return negatable("-m multiport ", "--dports " + list, [=](const Packet& p) { return in(p.header.dport); });
        default: return negatable("-m multiport ", "--ports " + list, [=](const Packet& p) { return in(p.header.sport) || in(p.header.dport); });
        }
    }

    std::mt19937 random_;
};

// ---------------------------------------------------------------- eVNF

struct Imported {
    std::vector<FwModelRule> rules;
    std::string fallback;
};

std::vector<std::string> texts(const YAML::Node& node)
{
    std::vector<std::string> all;
    if (node.IsScalar()) all.push_back(node.Scalar());
    for (const auto& element : node) all.push_back(element.Scalar());
    return all;
}

std::vector<unsigned> numbers(const YAML::Node& node)
{
    std::vector<unsigned> all;
    const std::vector<std::pair<std::string, unsigned>> names{{"icmp", 1}, {"tcp", 6}, {"udp", 17}, {"gre", 47}, {"esp", 50}, {"ah", 51}, {"icmpv6", 58}, {"sctp", 132}};
    for (const auto& text : texts(node)) {
        const auto named = std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.first == text; });
        all.push_back(named != names.end() ? named->second : static_cast<unsigned>(std::stoul(text)));
    }
    return all;
}

FwAddresses addresses(const YAML::Node& node)
{
    FwAddresses result;
    for (auto text : texts(node)) {
        result.negated = text.starts_with('!');
        if (result.negated) text.erase(0, 1);
        const auto slash = text.find('/');
        const bool v6 = text.find(':') != std::string::npos;
        std::string bytes(v6 ? 16 : 4, '\0');
        REQUIRE(inet_pton(v6 ? AF_INET6 : AF_INET, text.substr(0, slash).c_str(), bytes.data()) == 1);
        result.networks.push_back({text, bytes, static_cast<unsigned>(std::stoul(text.substr(slash + 1)))});
    }
    return result;
}

std::vector<std::pair<unsigned, unsigned>> ranges(const YAML::Node& node)
{
    std::vector<std::pair<unsigned, unsigned>> all;
    for (const auto& text : texts(node)) {
        const auto dash = text.find('-');
        const auto first = static_cast<unsigned>(std::stoul(text));
        all.push_back({first, dash == std::string::npos ? first : static_cast<unsigned>(std::stoul(text.substr(dash + 1)))});
    }
    return all;
}

void read_flags(const std::string& text, FwModelRule& rule)
{
    const std::vector<std::string> names{"fin", "syn", "rst", "psh", "ack", "urg"};
    std::istringstream words{text};
    for (std::string word; std::getline(words, word, ',');) {
        const bool clear = word[0] == '!';
        const auto name = std::find(names.begin(), names.end(), word.substr(clear));
        REQUIRE(name != names.end());
        (clear ? rule.flags_clear : rule.flags_set) |= 1u << (name - names.begin());
    }
}

void read_icmp(const YAML::Node& node, FwModelRule& rule)
{
    for (const auto& text : texts(node)) {
        const auto slash = text.find('/');
        FwIcmpType type{static_cast<unsigned>(std::stoul(text)), {}};
        if (slash != std::string::npos) type.code = static_cast<unsigned>(std::stoul(text.substr(slash + 1)));
        rule.icmp_types.push_back(type);
    }
}

FwModelRule read_rule(const YAML::Node& node)
{
    FwModelRule model;
    for (const auto& [key_node, value] : node.as<std::map<std::string, YAML::Node>>()) {
        const std::string key = key_node;
        if (key == "name") model.name = value.Scalar();
        else if (key == "action") model.action = value.Scalar();
        else if (key == "src") model.src = addresses(value);
        else if (key == "dst") model.dst = addresses(value);
        else if (key == "proto") model.protocols = numbers(value);
        else if (key == "sport") model.sport = ranges(value);
        else if (key == "dport") model.dport = ranges(value);
        else if (key == "icmp_type") read_icmp(value, model);
        else if (key == "tcp_flags") read_flags(value.Scalar(), model);
        else if (key == "state") model.states = texts(value);
        else if (key == "dscp") model.dscps = numbers(value);
        else if (key == "in_port") model.in_ports = texts(value);
        else if (key == "src_mac") model.src_macs = texts(value);
        else if (key == "fragment") model.fragment = FwFragment::yes;
        else FAIL("key " << key);
    }
    return model;
}

Imported import(const std::string& text, std::size_t most_rules)
{
    std::istringstream in{text};
    const evnf::fw::iptables::ImportOptions options{
        .file = "random", .ports = std::set<std::string>{"eth0", "eth1", "wan0"}, .most_rules = most_rules};
    const auto fw = YAML::Load(evnf::fw::iptables::import_rules(in, options).settings)["plugins"]["fw"];
    Imported imported;
    imported.fallback = fw["default"].Scalar();
    for (const auto& node : fw["rules"]) imported.rules.push_back(read_rule(node));
    return imported;
}

std::string decides(const Imported& imported, const Packet& packet)
{
    auto state = packet.state;
    for (char& c : state) c = static_cast<char>(std::tolower(c));
    for (const auto& rule : imported.rules)
        if (fw_matches(rule, packet.header, packet.in, state)) return rule.action;
    return imported.fallback == "next" ? "allow" : imported.fallback;
}

std::string in_our_words(const std::string& verdict)
{
    return verdict == "ACCEPT" ? "allow" : verdict == "DROP" ? "drop" : "reject";
}

} // namespace

TEST_CASE("import: random chains decide about random packets as iptables does")
{
    const unsigned first_seed = std::random_device{}();
    unsigned decided = 0, left = 0;
    for (unsigned seed = first_seed; seed != first_seed + 400; ++seed) {
        World world{seed};
        const auto chains = world.chains();
        const std::string policy = world.one_in(2) ? "ACCEPT" : "DROP";
        const auto text = save_file(chains, policy);
        // With so few, many a jump is not followed.
        const auto imported = import(text, world.one_in(3) ? 80 : 16'000);
        for (unsigned i = 0; i < 300; ++i) {
            const auto packet = world.packet();
            const auto ours = decides(imported, packet);
            const auto theirs = in_our_words(iptables_decides(chains, 0, packet).value_or(policy));
            ++(ours == "netfilter" ? left : decided);
            if (ours == "netfilter" || ours == theirs) continue;
            FAIL("seed " << seed << ", packet " << i << ": iptables says " << theirs << ", eVNF " << ours << "\n" << text);
        }
    }
    INFO("seed " << first_seed);
    CHECK(decided > 2 * left);
    CHECK(left > 0);
}
