// SPDX-License-Identifier: MIT
/// The tables that the rules become, looked up as the fast path does and compared with rules tried
/// one after the other.
#include <compiler.hpp>

#include <bit>
#include <cstring>

#include "catch.hpp"
#include "fw_model.hpp"

using namespace evnf::test;
using evnf::Node;
using evnf::Problems;
using evnf::fw::PrefixRows;
using evnf::fw::Tables;

namespace {

/// Ports a, b and c, by their letters.
class Letters final : public evnf::Ports {
public:
    int index(std::string_view name) const override { return name.size() == 1 ? name[0] - 'a' : -1; }
    std::string_view name(int) const override { return {}; }
};

Tables compiled(const std::string& settings)
{
    Problems problems{"f"};
    const auto root = YAML::Load(settings);
    const auto policy = evnf::fw::read_policy(Node{root, "", root.Mark(), problems}, Letters{});
    INFO(settings);
    REQUIRE(problems.errors() == std::vector<std::string>{});
    return evnf::fw::compile(policy.rules);
}

/// The longest prefix that the address is in, as an LPM_TRIE finds it.
fw_bitmap longest(const PrefixRows& table, unsigned family, const std::string& address)
{
    const std::string wire = address.size() == 4 ? std::string(10, '\0') + "\xff\xff" + address : address;
    const fw_bitmap* best = nullptr;
    unsigned length = 0;
    for (std::size_t i = 0; i < table.keys.size(); ++i) {
        const auto& key = table.keys[i];
        const auto* bytes = key.address.bytes;
        bool inside = key.family == family;
        for (unsigned bit = 0; bit < key.length - 32 && inside; ++bit)
            inside = !((bytes[bit / 8] ^ static_cast<unsigned char>(wire[bit / 8])) & (0x80 >> bit % 8));
        if (inside && (!best || key.length > length)) best = &table.rows[i], length = key.length;
    }
    REQUIRE(best);
    return *best;
}

void narrow(fw_bitmap& left, const fw_bitmap& row)
{
    left.words[0] &= row.words[0];
    left.words[1] &= row.words[1];
}

void narrow(fw_bitmap& left, const std::vector<fw_bitmap>& rows, std::size_t index)
{
    if (!rows.empty()) narrow(left, rows.at(index));
}

std::string decide(const Tables& tables, const Parsed& packet, const std::string& port)
{
    const bool ports =
        (packet.protocol == 6 || packet.protocol == 17 || packet.protocol == 132) && !packet.later_fragment;
    const bool tcp = packet.protocol == 6 && !packet.later_fragment;
    const bool icmp = packet.protocol == (packet.ip_version == 4 ? 1 : 58) && !packet.later_fragment;
    auto left = tables.config.rules;
    narrow(left, tables.rows[FW_PROTOCOL], packet.protocol);
    narrow(left, tables.rows[FW_SPORT], ports ? packet.sport : +FW_NO_PORT);
    narrow(left, tables.rows[FW_DPORT], ports ? packet.dport : +FW_NO_PORT);
    narrow(left, tables.rows[FW_ICMP],
           icmp ? packet.icmp_type + (packet.ip_version == 6 ? +FW_ICMPV6_ROW : 0) : +FW_NO_ICMP);
    narrow(left, tables.rows[FW_TCP_FLAGS], tcp ? packet.tcp_flags : +FW_NO_TCP);
    narrow(left, tables.rows[FW_VLAN], packet.vlans.empty() ? +FW_UNTAGGED : packet.vlans.front());
    narrow(left, tables.rows[FW_IN_PORT], static_cast<std::size_t>(port[0] - 'a'));
    if (!tables.src.keys.empty()) narrow(left, longest(tables.src, packet.ip_version, packet.src));
    if (!tables.dst.keys.empty()) narrow(left, longest(tables.dst, packet.ip_version, packet.dst));
    const auto& words = left.words;
    if (!words[0] && !words[1]) return "default";
    return "r" + std::to_string(words[0] ? std::countr_zero(words[0]) : 64 + std::countr_zero(words[1]));
}

std::string decide(const std::string& rules, const Frame& frame, const std::string& port = "a")
{
    return decide(compiled("{rules: [" + rules + "]}"), reference_parse(frame), port);
}

} // namespace

TEST_CASE("fw: the tables say what the rules say, one after the other")
{
    const auto seed = std::random_device{}();
    std::mt19937 random{seed};
    for (int policy = 0; policy < 40; ++policy) {
        const auto rules = random_fw_rules(random, 1 + random() % FW_MAX_RULES);
        const auto tables = compiled(fw_settings(rules, "drop"));
        for (int i = 0; i < 250; ++i) {
            const auto frame = random_fw_frame(random);
            const auto packet = reference_parse(frame);
            const std::string port(1, static_cast<char>('a' + random() % 3));
            INFO("seed " << seed << " port " << port << " " << describe(frame) << "\n"
                         << fw_settings(rules, "drop"));
            REQUIRE(decide(tables, packet, port) == fw_decides(rules, packet, port));
        }
    }
}

TEST_CASE("fw: a field that no rule asks for has no table")
{
    const auto tables = compiled("{rules: [{name: r0, dport: 80, action: allow}]}");
    CHECK(tables.rows[FW_DPORT].size() == FW_PORT_ROWS);
    CHECK(tables.rows[FW_SPORT].empty());
    CHECK(tables.src.keys.empty());
    CHECK(tables.config.asking[FW_DPORT].words[0] == 1);
    CHECK(tables.config.asking[FW_SRC].words[0] == 0);
}

TEST_CASE("fw: both ends of a range of ports are in it, their neighbours are not")
{
    const std::string rule = "{name: r0, dport: 8000-8080, action: allow}";
    const auto to = [](std::uint16_t port) { return packet(Eth{}, Ipv4{}, Tcp{.dport = port}); };
    CHECK(decide(rule, to(7999)) == "default");
    CHECK(decide(rule, to(8000)) == "r0");
    CHECK(decide(rule, to(8080)) == "r0");
    CHECK(decide(rule, to(8081)) == "default");
}

TEST_CASE("fw: a negated list matches what is in none of its prefixes, of either family")
{
    const std::string rule = "{name: r0, src: [\"!10.0.0.0/8\", \"!2001:db8::/32\"], action: drop}";
    const auto v4 = [](const char* src) { return packet(Eth{}, Ipv4{.src = src}, Udp{}); };
    const auto v6 = [](const char* src) { return packet(Eth{}, Ipv6{.src = src}, Udp{}); };
    CHECK(decide(rule, v4("10.255.255.255")) == "default");
    CHECK(decide(rule, v4("11.0.0.0")) == "r0");
    CHECK(decide(rule, v6("2001:db8::7")) == "default");
    CHECK(decide(rule, v6("2001:db9::7")) == "r0");
}

TEST_CASE("fw: a shorter prefix of one rule holds under a longer one of another")
{
    const std::string rules =
        "{name: r0, src: 10.1.2.3, dst: 192.0.2.1, action: drop}, {name: r1, src: 10.0.0.0/8, action: allow}";
    CHECK(decide(rules, packet(Eth{}, Ipv4{.src = "10.1.2.3", .dst = "192.0.2.9"}, Udp{})) == "r1");
}

TEST_CASE("fw: ::/0 is every IPv6 address and no IPv4 address, and the other way round")
{
    const auto v4 = packet(Eth{}, Ipv4{}, Udp{}), v6 = packet(Eth{}, Ipv6{}, Udp{});
    CHECK(decide("{name: r0, src: \"::/0\", action: drop}", v4) == "default");
    CHECK(decide("{name: r0, src: \"::/0\", action: drop}", v6) == "r0");
    CHECK(decide("{name: r0, src: 0.0.0.0/0, action: drop}", v4) == "r0");
    CHECK(decide("{name: r0, src: 0.0.0.0/0, action: drop}", v6) == "default");
    const auto mapped = packet(Eth{}, Ipv6{.src = "::ffff:10.0.0.1"}, Udp{});
    CHECK(decide("{name: r0, src: 10.0.0.0/8, action: drop}", mapped) == "default");
}

TEST_CASE("fw: nothing lies in an empty set")
{
    const auto frame = packet(Eth{}, Ipv4{}, Udp{});
    const auto with = [&](const char* src) {
        return decide(
            compiled(std::string{"{sets: {none: []}, rules: [{name: r0, action: drop, src: "} + src + "}]}"),
            reference_parse(frame), "a");
    };
    CHECK(with("$none") == "default");
    CHECK(with("\"!$none\"") == "r0");
}
