// SPDX-License-Identifier: MIT
/// Sets of the firewall that change between packets, in the kernel.
#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "catch.hpp"
#include "chain.hpp"
#include "fw_model.hpp"
#include "packet.hpp"

using namespace evnf::test;

namespace {

std::string configuration(const std::string& settings)
{
    return "ports: [{name: a, chain: [fw]}]\nplugins: {fw: {default: drop, " + settings + "}}\n";
}

std::string decide(Chain& chain, const Frame& frame)
{
    return chain.run("a", frame).plugins.at("fw").at("rule").as_string().c_str();
}

Frame from(const std::string& src, const std::string& dst = "10.2.0.2")
{
    return packet(Eth{}, Ipv4{.src = src, .dst = dst}, Udp{});
}

Frame from6(const std::string& src)
{
    return packet(Eth{}, Ipv6{.src = src}, Udp{});
}

boost::json::value set(Chain& chain, std::vector<std::string> words)
{
    return chain.query("fw", "set", std::move(words));
}

} // namespace

TEST_CASE("fw sets: what was answered before a change is not the answer after it")
{
    std::string rules;
    for (int i = 0; i < 20; ++i) rules += fmt::format("{{name: r{}, src: 198.51.100.{}, action: drop}}, ", i, i);
    Chain chain{configuration("sets: {bad: [10.1.0.0/16]}, rules: [" + rules + "{name: bad, src: $bad, action: drop}]")};
    for (const auto& [change, wanted] : {std::pair{"del", "default"}, std::pair{"add", "bad"}, std::pair{"del", "default"}}) {
        for (int i = 0; i < 3; ++i) CHECK(decide(chain, from("10.1.0.1")) != wanted);
        set(chain, {change, "bad", "10.1.0.0/16"});
        for (int i = 0; i < 3; ++i) CHECK(decide(chain, from("10.1.0.1")) == wanted);
        CHECK(decide(chain, from("198.51.100.7")) == "r7");
    }
}

TEST_CASE("fw sets: a change holds for the next packet")
{
    Chain chain{configuration("sets: {bad: [10.1.0.0/16]}, rules: [{name: bad, src: $bad, action: drop}]")};
    CHECK(decide(chain, from("10.1.0.1")) == "bad");
    CHECK(decide(chain, from("192.0.2.1")) == "default");
    set(chain, {"add", "bad", "192.0.2.0/24", "2001:db8::/32"});
    CHECK(decide(chain, from("192.0.2.1")) == "bad");
    CHECK(decide(chain, from6("2001:db8::1")) == "bad");
    CHECK(decide(chain, from6("2001:db9::1")) == "default");
    set(chain, {"del", "bad", "10.1.0.0/16"});
    CHECK(decide(chain, from("10.1.0.1")) == "default");
    set(chain, {"reset", "bad"});
    CHECK(decide(chain, from("10.1.0.1")) == "bad");
    CHECK(decide(chain, from("192.0.2.1")) == "default");
}

TEST_CASE("fw sets: both sides, negated, and beside other conditions")
{
    Chain chain{configuration(
        "sets: {in: [10.1.0.0/16], out: [10.2.0.0/16], none: []}, rules: ["
        "{name: strange, src: ['!$in', '!$out', '!10.9.0.0/16'], action: drop},"
        "{name: across, src: $in, dst: $out, action: allow},"
        "{name: mixed, src: [$none, 10.9.0.0/16], dst: '!$out', action: allow}]")};
    CHECK(decide(chain, from("10.1.0.1", "10.2.0.1")) == "across");
    CHECK(decide(chain, from("10.2.0.1", "10.2.0.1")) == "default");
    CHECK(decide(chain, from("10.3.0.1", "10.2.0.1")) == "strange");
    CHECK(decide(chain, from("10.9.0.1", "10.3.0.1")) == "mixed");
    CHECK(decide(chain, from("10.9.0.1", "10.2.0.1")) == "default");
    set(chain, {"add", "none", "10.1.0.7"});
    CHECK(decide(chain, from("10.1.0.7", "10.3.0.1")) == "mixed");
    CHECK(decide(chain, from("10.1.0.8", "10.3.0.1")) == "default");
}

TEST_CASE("fw sets: changes outlive a reload, and end where the configuration has them or lacks the set")
{
    const auto with = [](const std::string& sets) { return configuration("sets: {" + sets + "}, rules: [{name: bad, src: $bad, action: drop}]"); };
    const auto listed = [](Chain& chain) { return set(chain, {"list"}).as_array().at(0); };
    Chain chain{with("bad: [10.1.0.0/16]")};
    set(chain, {"add", "bad", "192.0.2.1", "192.0.2.2"});
    set(chain, {"del", "bad", "10.1.0.0/16"});
    chain.reload(with("bad: [10.1.0.0/16, 192.0.2.1]"));
    CHECK(decide(chain, from("192.0.2.1")) == "bad");
    CHECK(decide(chain, from("192.0.2.2")) == "bad");
    CHECK(decide(chain, from("10.1.0.1")) == "default");
    CHECK(listed(chain).at("added") == 1);
    CHECK(listed(chain).at("deleted") == 1);
    chain.reload(configuration("sets: {other: []}"));
    chain.reload(with("bad: [10.1.0.0/16]"));
    CHECK(decide(chain, from("192.0.2.2")) == "default");
    CHECK(decide(chain, from("10.1.0.1")) == "bad");
    CHECK(listed(chain).at("added") == 0);
}

TEST_CASE("fw sets: what cannot be done is said, and nothing of it is done")
{
    Chain chain{configuration("sets: {bad: [10.0.0.0/8]}, rules: [{name: bad, src: $bad, action: drop}]")};
    using Catch::Matchers::ContainsSubstring;
    const auto refused = [&](std::vector<std::string> words, const std::string& why) { CHECK_THROWS_WITH(set(chain, std::move(words)), ContainsSubstring(why)); };
    refused({"add", "bad", "192.0.2.1", "192.0.2.1/24"}, "'192.0.2.1/24' has host bits set; the network is 192.0.2.0/24");
    CHECK(decide(chain, from("192.0.2.1")) == "default");
    refused({"add", "good", "192.0.2.1"}, "there is no set 'good' in the configuration; there are bad");
    refused({"del", "bad", "10.0.0.0/8", "10.1.0.0/16"}, "10.1.0.0/16 is no member of set 'bad', but lies in its member 10.0.0.0/8");
    CHECK(decide(chain, from("10.1.0.1")) == "bad");
    refused({"load", "bad", "/nowhere/at/all"}, "cannot read /nowhere/at/all: No such file or directory");
    refused({"frobnicate"}, "set list [NAME]");
    CHECK(set(chain, {"add", "bad", "10.0.0.0/8"}).as_array().at(0).at("result") == "is a member already");
}

TEST_CASE("fw sets: explain and unused go by what the sets hold now")
{
    Chain chain{configuration(
        "sets: {bad: [10.1.0.0/16]}, rules: [{name: bad, src: $bad, action: drop}, {name: one, src: 192.0.2.1, action: allow}]")};
    const auto explained = [&] { return chain.query("fw", "explain", {"udp 192.0.2.1:1 > 10.2.0.2:2"}).at("rule"); };
    const auto why = [&] { return chain.query("fw", "unused").as_array().back().at("why"); };
    CHECK(explained() == "one");
    CHECK(why() == "never hit");
    set(chain, {"add", "bad", "192.0.2.0/24"});
    CHECK(explained() == "bad");
    CHECK(why() == "covered");
    set(chain, {"reset", "bad"});
    CHECK(explained() == "one");
    CHECK(why() == "never hit");
}

TEST_CASE("fw sets: random changes between packets decide as rules tried one after the other")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random{seed};
    const auto below = [&](unsigned count) { return static_cast<unsigned>(random() % count); };
    const auto network = [&] {
        const unsigned length = 16 + below(17), address = 0x0a000000 + (below(3) << 16) + (below(3) << 8) + below(8);
        const unsigned masked = address & (~0u << (32 - length));
        FwNetwork result;
        for (int shift = 24; shift >= 0; shift -= 8) result.bytes += static_cast<char>(masked >> shift);
        result.text = fmt::format("{}.{}.{}.{}/{}", masked >> 24, masked >> 16 & 255, masked >> 8 & 255, masked & 255, length);
        result.length = length;
        return result;
    };
    const auto address = [&] { return fmt::format("10.{}.{}.{}", below(3), below(3), below(9)); };
    std::vector<FwModelRule> model;
    std::string rules, sets;
    for (int i = 0; i < 3; ++i) sets += fmt::format("s{}: [], ", i);
    for (int i = 0; i < 12; ++i) {
        FwModelRule rule{.name = fmt::format("r{}", i), .action = "allow"};
        const auto condition = [&](FwAddresses& addresses) { addresses = {{}, below(3) == 0, fmt::format("s{}", below(3))}; };
        condition(rule.src);
        if (below(2)) condition(rule.dst);
        rule.protocols = {i % 3 ? 17u : 6u};
        const auto text = [](const char* key, const FwAddresses& side) { return side.set.empty() ? "" : fmt::format(", {}: '{}${}'", key, side.negated ? "!" : "", side.set); };
        rules += fmt::format("{{name: r{}, action: allow, proto: {}{}{}}}, ", i, rule.protocols[0], text("src", rule.src), text("dst", rule.dst));
        model.push_back(std::move(rule));
    }
    Chain chain{configuration("sets: {" + sets + "}, rules: [" + rules + "]")};
    std::array<std::vector<FwNetwork>, 3> contents;
    for (int change = 0; change < 300; ++change) {
        const auto which = below(3);
        auto& members = contents[which];
        const auto name = fmt::format("s{}", which);
        if (members.size() < 3 || (members.size() < 12 && below(2))) {
            const auto fresh = network();
            const bool known = std::any_of(members.begin(), members.end(), [&](const auto& member) { return member.text == fresh.text; });
            set(chain, {"add", name, fresh.text});
            if (!known) members.push_back(fresh);
        } else {
            const auto gone = members.begin() + below(static_cast<unsigned>(members.size()));
            set(chain, {"del", name, gone->text});
            members.erase(gone);
        }
        const auto in = [&](const FwAddresses& side, const std::string& bytes) {
            if (side.set.empty()) return true;
            const auto& networks = contents[static_cast<std::size_t>(side.set[1] - '0')];
            return networks.empty() ? side.negated : fw_address_fits({networks, side.negated, {}}, bytes);
        };
        for (int i = 0; i < 4; ++i) {
            const auto frame = below(2) ? packet(Eth{}, Ipv4{.src = address(), .dst = address()}, Udp{}) : packet(Eth{}, Ipv4{.src = address(), .dst = address()}, Tcp{});
            const auto parsed = reference_parse(frame);
            const auto found = std::find_if(model.begin(), model.end(), [&](const auto& rule) {
                return rule.protocols[0] == parsed.protocol && in(rule.src, parsed.src) && in(rule.dst, parsed.dst);
            });
            INFO(describe(frame) << " after change " << change);
            REQUIRE(decide(chain, frame) == (found == model.end() ? "default" : found->name));
        }
    }
}
