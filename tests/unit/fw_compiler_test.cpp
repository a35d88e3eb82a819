// SPDX-License-Identifier: MIT
/// The tables that the rules become, looked up as the fast path does and compared with rules tried
/// one after the other.
#include <compiler.hpp>

#include <algorithm>
#include <cstring>

#include "catch.hpp"
#include "fw_random_frames.hpp"
#include "fw_random_rules.hpp"

using namespace evnf::test;
using evnf::Node;
using evnf::Problems;

namespace {

struct Tables : evnf::fw::Tables {
    evnf::fw::Sets contents; ///< of the sets
};

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
    return {evnf::fw::compile(policy.rules), policy.sets};
}

std::uint64_t number_of(const std::string& bytes, std::size_t first, std::size_t count)
{
    std::uint64_t number = 0;
    for (std::size_t i = first; i < first + count; ++i) number = number << 8 | static_cast<unsigned char>(bytes[i]);
    return number;
}

/// The row in the last point that is not after the address, found by trying one point after the other.
std::uint32_t row_in(const Tables& tables, const fw_block& block, std::uint64_t high, std::uint64_t low)
{
    if (block.count == FW_WHOLE) return block.first;
    std::uint32_t found = FW_NOTHING;
    for (std::uint32_t i = block.first; i < block.first + block.count; ++i) {
        const auto& [start, row, pad] = tables.points.at(i);
        if (std::pair<std::uint64_t, std::uint64_t>{start[0], start[1]} <= std::pair{high, low}) found = row;
    }
    return found;
}

std::uint32_t row4(const Tables& tables, fw_side side, std::uint64_t address)
{
    auto block = tables.blocks4.at(std::size_t{side} * FW_BLOCKS + (address >> 16));
    for (const int shift : {8, 0})
        if (block.count == FW_NODE) block = tables.blocks4.at(block.first + (address >> shift & 0xff));
    return row_in(tables, block, 0, address);
}

std::uint32_t row6(const Tables& tables, fw_side side, std::uint64_t high, std::uint64_t low)
{
    auto span = tables.config.spans6[side];
    std::uint64_t count = FW_BLOCKS;
    for (;;) {
        if (high < span.base) return span.before;
        const auto block = tables.blocks6.at(span.first + std::min<std::uint64_t>((high - span.base) >> span.shift, count - 1));
        if (block.count != FW_NODE) return row_in(tables, block, high, low);
        span = tables.spans6.at(block.first);
        count = FW_NODE_BLOCKS;
    }
}

std::uint32_t row_of(const Tables& tables, fw_side side, const std::string& address)
{
    if (address.size() == 4) return row4(tables, side, number_of(address, 0, 4));
    return row6(tables, side, number_of(address, 0, 8), number_of(address, 8, 8));
}

bool is_in(const evnf_address& a, const evnf_address& b, const evnf_address& mask)
{
    for (int i = 0; i < 16; ++i)
        if ((a.bytes[i] ^ b.bytes[i]) & mask.bytes[i]) return false;
    return true;
}

/// A packet with what the fast path computes of it.
struct Searched {
    const Parsed& packet;
    fw_family family = packet.ip_version == 4 ? FW_V4 : FW_V6;
    bool has_ports = (packet.protocol == 6 || packet.protocol == 17 || packet.protocol == 132) && !packet.later_fragment;
    bool has_icmp = packet.protocol == (packet.ip_version == 4 ? 1 : 58) && !packet.later_fragment;
    std::uint32_t port = 0;
    std::uint32_t src = FW_NOTHING, dst = FW_NOTHING; ///< rows
    fw_key key{};
};

evnf_address mapped(const std::string& address)
{
    evnf_address raw{};
    const std::string wire = address.size() == 4 ? std::string(10, '\0') + "\xff\xff" + address : address;
    std::memcpy(raw.bytes, wire.data(), 16);
    return raw;
}

/// Whether one of the sets, a bit each, holds the address.
bool is_in_sets(const Tables& tables, std::uint64_t sets, const std::string& address)
{
    for (std::size_t number = 0; number < tables.sets.size(); ++number)
        for (const auto& prefix : tables.contents.at(tables.sets[number]))
            if ((sets >> number & 1) && prefix.is_v4() == (address.size() == 4) && prefix.contains(evnf::Address{mapped(address)})) return true;
    return false;
}

bool is_met(const Tables& tables, const fw_entry& entry, const Searched& of)
{
    const auto& packet = of.packet;
    const auto asks = [&](fw_condition condition) { return (entry.conditions & condition) != 0; };
    const auto vlan = [&](std::size_t tag) { return packet.vlans.size() > tag ? packet.vlans[tag] : +EVNF_NO_VLAN; };
    const auto in_group = [&](std::uint32_t row, std::uint8_t group) { return (tables.groups.at(row) >> group & 1) != 0; };
    const unsigned fragment = packet.first_fragment ? EVNF_FRAGMENT_FIRST : packet.later_fragment ? EVNF_FRAGMENT_LATER : EVNF_FRAGMENT_NONE;
    return is_in(of.key.src, entry.src, entry.src_mask) && is_in(of.key.dst, entry.dst, entry.dst_mask) &&
           (!asks(FW_IF_PROTOCOL) || packet.protocol == entry.protocol) &&
           (!asks(FW_IF_PORTS) || (of.has_ports && packet.sport >= entry.sport_first && packet.sport <= entry.sport_last &&
                                   packet.dport >= entry.dport_first && packet.dport <= entry.dport_last)) &&
           (!asks(FW_IF_FLAGS) || (of.has_ports && packet.protocol == 6 && (packet.tcp_flags & entry.flags_mask) == entry.flags)) &&
           (!asks(FW_IF_ICMP_TYPE) || (of.has_icmp && packet.icmp_type == entry.icmp_type)) &&
           (!asks(FW_IF_ICMP_CODE) || packet.icmp_code == entry.icmp_code) && (!asks(FW_IF_VLAN) || vlan(0) == entry.vlan) &&
           (!asks(FW_IF_INNER_VLAN) || vlan(1) == entry.inner_vlan) && (!asks(FW_IF_IN_PORT) || (entry.in_ports >> of.port & 1)) &&
           (!asks(FW_IF_DSCP) || (entry.dscps >> (packet.tos >> 2) & 1)) && (!asks(FW_IF_FRAGMENT) || (entry.fragments >> fragment & 1)) &&
           (!asks(FW_IF_MAC) || of.key.l2 >> 16 == entry.mac) &&
           (!asks(FW_IF_SRC_GROUP) || in_group(of.src, entry.src_group) != asks(FW_SRC_NOT_IN_GROUP)) &&
           (!asks(FW_IF_DST_GROUP) || in_group(of.dst, entry.dst_group) != asks(FW_DST_NOT_IN_GROUP)) &&
           (!asks(FW_IF_SRC_SETS) || is_in_sets(tables, entry.src_sets, packet.src) != asks(FW_SRC_NOT_IN_SETS)) &&
           (!asks(FW_IF_DST_SETS) || is_in_sets(tables, entry.dst_sets, packet.dst) != asks(FW_DST_NOT_IN_SETS));
}

/// The bits that are in the rows of all fields that rules ask for.
fw_row candidates(const Tables& tables, Searched& of)
{
    const auto asks = [&](fw_side side) { return tables.config.asks_address[of.family] >> side & 1; };
    std::vector<std::uint32_t> rows{tables.protocols.at(of.packet.protocol).row[of.family]};
    if (tables.config.asks_ports) {
        rows.push_back(tables.ports.at(of.has_ports ? of.packet.sport : +FW_NO_PORT).sport[of.family]);
        rows.push_back(tables.ports.at(of.has_ports ? of.packet.dport : +FW_NO_PORT).dport[of.family]);
    }
    if (asks(FW_SRC)) rows.push_back(of.src = row_of(tables, FW_SRC, of.packet.src));
    if (asks(FW_DST)) rows.push_back(of.dst = row_of(tables, FW_DST, of.packet.dst));
    fw_row left;
    for (auto& word : left.tuples) word = ~0ull;
    for (const auto row : rows)
        for (std::size_t i = 0; i < FW_WORDS; ++i) left.tuples[i] &= tables.rows.at(row).tuples[i];
    return left;
}

/// The first rule of those in the tuple that the packet matches.
std::uint32_t first_in(const Tables& tables, const fw_tuple& tuple, const Searched& of)
{
    const auto hash = fw_hash(&of.key, &tuple, of.family);
    const auto list = fw_list_in(&tables.buckets.at(hash & tables.config.bucket_mask), fw_tag(hash, of.family));
    if (list == FW_NOTHING) return FW_NOTHING;
    for (auto i = list;; ++i) {
        if (is_met(tables, tables.entries.at(i), of)) return tables.entries[i].rule;
        if (tables.entries[i].conditions & FW_LAST) return FW_NOTHING;
    }
}

std::string decide(const Tables& tables, const Parsed& packet, const std::string& port)
{
    Searched of{packet};
    of.port = static_cast<std::uint32_t>(port[0] - 'a');
    const auto ports = of.has_ports ? std::uint64_t{packet.sport} << 32 | std::uint64_t{packet.dport} << 16 : 0;
    of.key = {mapped(packet.src), mapped(packet.dst), ports | packet.protocol,
              number_of(packet.src_mac, 0, 6) << 16 | (packet.vlans.empty() ? +EVNF_NO_VLAN : packet.vlans[0])};
    std::uint32_t best = FW_NOTHING;
    if (tables.config.few) {
        const auto first = tables.config.few_first[of.family];
        for (auto i = first; i < first + tables.config.few_count[of.family]; ++i)
            if (is_met(tables, tables.entries.at(i), of)) best = std::min(best, tables.entries[i].rule);
        return best == FW_NOTHING ? "default" : "r" + std::to_string(best);
    }
    const auto left = candidates(tables, of);
    for (std::size_t tuple = 0; tuple < FW_MAX_TUPLES; ++tuple)
        if (left.tuples[tuple / 64] >> tuple % 64 & 1)
            best = std::min(best, first_in(tables, tables.tuples.at(tables.config.first_tuple[of.family] + tuple), of));
    return best == FW_NOTHING ? "default" : "r" + std::to_string(best);
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
        const auto rules = random_fw_rules(random, 1 + random() % 400);
        const auto settings = fw_settings(rules, "drop");
        const auto tables = compiled(settings);
        for (int i = 0; i < 250; ++i) {
            const auto frame = random_fw_frame(random);
            const auto packet = reference_parse(frame);
            const std::string port(1, static_cast<char>('a' + random() % 3));
            const auto decided = decide(tables, packet, port), expected = fw_decides(rules, packet, port);
            if (decided == expected) continue; // the message below costs more than the search
            INFO("seed " << seed << " port " << port << " " << describe(frame) << "\n" << settings);
            CHECK(decided == expected);
        }
    }
}

TEST_CASE("fw: a field that no rule asks for has no table")
{
    std::string rules;
    for (int i = 0; i < 20; ++i) rules += "{name: r" + std::to_string(i) + ", proto: " + std::to_string(i) + ", action: allow}, ";
    const auto tables = compiled("{rules: [" + rules + "]}");
    CHECK(tables.ports.empty());
    CHECK(tables.blocks4.empty());
    CHECK(tables.points.empty());
    CHECK(tables.config.asks_address[FW_V4] == 0);
    CHECK(compiled("{rules: [" + rules + "{name: last, dport: 80, action: allow}]}").ports.size() == FW_PORT_ROWS);
}

TEST_CASE("fw: few rules have no tables but their entries")
{
    const auto tables = compiled("{rules: [{name: r0, dport: 80, src: 10.0.0.0/8, action: allow}]}");
    CHECK(tables.config.few);
    CHECK(tables.entries.size() == 1);
    CHECK(tables.ports.empty());
    CHECK(compiled("{sets: {s: [10.0.0.1]}, rules: [{name: r0, src: \"!$s\", action: allow}]}").config.few);
    CHECK_FALSE(compiled("{rules: [{name: r0, src: \"!10.0.0.1\", action: allow}]}").config.few);
}

TEST_CASE("fw: tuples are numbered by their first rules")
{
    const auto tables = compiled(fw_settings(
        [] {
            std::mt19937 random{7};
            return random_fw_rules(random, 200);
        }(),
        "drop"));
    for (std::size_t i = 1; i < tables.tuples.size(); ++i)
        if (i != tables.config.first_tuple[FW_V6]) CHECK(tables.tuples[i - 1].first_rule <= tables.tuples[i].first_rule);
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

TEST_CASE("fw: sets and prefixes in one list are either, or negated, neither")
{
    const auto with = [&](const std::string& list, const char* src) {
        return decide(compiled("{sets: {a: [10.1.0.0/16], b: [10.2.0.0/16]}, rules: [{name: r0, action: drop, src: " + list + "}]}"),
                      reference_parse(packet(Eth{}, Ipv4{.src = src}, Udp{})), "a");
    };
    for (const auto* src : {"10.1.0.1", "10.2.0.1", "10.3.0.1"}) {
        INFO(src);
        CHECK(with("[$a, $b, 10.3.0.0/16]", src) == "r0");
        CHECK(with("[\"!$a\", \"!$b\", \"!10.3.0.0/16\"]", src) == "default");
    }
    CHECK(with("[$a, $b, 10.3.0.0/16]", "10.4.0.1") == "default");
    CHECK(with("[\"!$a\", \"!$b\", \"!10.3.0.0/16\"]", "10.4.0.1") == "r0");
}

TEST_CASE("fw: rules ask for 64 sets, and no more")
{
    const auto settings = [](int count) {
        std::string sets, rules;
        for (int i = 0; i < count; ++i) {
            sets += "s" + std::to_string(i) + ": [], ";
            rules += "{name: r" + std::to_string(i) + ", src: $s" + std::to_string(i) + ", action: drop}, ";
        }
        return "{sets: {" + sets + "}, rules: [" + rules + "]}";
    };
    CHECK(compiled(settings(64)).sets.size() == 64);
    CHECK_THROWS_WITH(compiled(settings(65)), "rule 'r64': asks for '$s64', and the rules before it for 64 other sets; this version takes at most 64");
}
