// SPDX-License-Identifier: MIT
/// The firewall's condition limit: how often a rule matches, for whom, and what is tried when it does not.
#include <boost/json.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "catch.hpp"
#include "chain.hpp"
#include "fw_random_frames.hpp"
#include "fw_random_rules.hpp"
#include "packet.hpp"

using namespace evnf::test;
using namespace std::chrono_literals;

namespace {

std::string configuration(const std::string& settings)
{
    return "ports: [{name: a, chain: [fw]}, {name: b, chain: [fw]}, {name: c, chain: [fw]}]\nplugins: {fw: " + settings + "}\n";
}

std::string rules(const std::string& list, const std::string& more = "")
{
    return configuration("{default: drop, " + more + "rules: [" + list + "]}");
}

std::string decide(Chain& chain, const Frame& frame, const std::string& port = "a")
{
    return chain.run(port, frame).plugins.at("fw").at("rule").as_string().c_str();
}

/// How many of `count` such packets the rule decides.
int matches(Chain& chain, const Frame& frame, const std::string& rule, int count)
{
    int matched = 0;
    for (int i = 0; i < count; ++i) matched += decide(chain, frame) == rule;
    return matched;
}

std::uint64_t counter(Chain& chain, const std::string& rule, const std::string& key)
{
    const auto answer = chain.query("fw", "rules");
    for (const auto& entry : answer.as_array())
        if (entry.at("name").as_string() == rule) return entry.at(key).to_number<std::uint64_t>();
    return ~0ull;
}

Frame from(const std::string& src, const std::string& dst = "10.2.0.2", std::uint16_t sport = 1000, std::uint16_t dport = 80)
{
    return src.find(':') == std::string::npos ? packet(Eth{}, Ipv4{.src = src, .dst = dst}, Udp{.sport = sport, .dport = dport})
                                              : packet(Eth{}, Ipv6{.src = src, .dst = dst}, Udp{.sport = sport, .dport = dport});
}

/// More rules than are tried one after the other.
std::string filler()
{
    std::string list;
    for (int i = 0; i < 20; ++i) list += ", {name: f" + std::to_string(i) + ", dport: " + std::to_string(30000 + i) + ", action: drop}";
    return list;
}

} // namespace

TEST_CASE("fw: limit: a rule matches while there is something left of its burst, and what is over it goes to later rules")
{
    for (const auto& more : {std::string{}, filler()}) {
        Chain chain{rules("{name: few, limit: {rate: 1/h, burst: 3}, action: allow}, {name: rest, proto: udp, action: drop}" + more)};
        CHECK(matches(chain, from("10.1.0.1"), "few", 3) == 3);
        CHECK(decide(chain, from("10.1.0.1")) == "rest");
        CHECK(decide(chain, from("10.9.0.1")) == "rest");
        CHECK(decide(chain, packet(Eth{}, Ipv4{}, Tcp{})) == "default");
        CHECK(counter(chain, "few", "packets") == 3);
        CHECK(counter(chain, "few", "over_limit") == 3);
        CHECK(counter(chain, "few", "limit_table_full") == 0);
        CHECK(counter(chain, "rest", "packets") == 2);
    }
}

TEST_CASE("fw: limit: what its rate earns may pass later")
{
    Chain chain{rules("{name: r, limit: {rate: 20/s, burst: 1}, action: allow}")};
    CHECK(matches(chain, from("10.1.0.1"), "r", 2) == 1);
    std::this_thread::sleep_for(60ms);
    CHECK(decide(chain, from("10.1.0.1")) == "r");
    std::this_thread::sleep_for(300ms);
    CHECK(matches(chain, from("10.1.0.1"), "r", 3) == 1); // no more than the burst, however long the pause
}

TEST_CASE("fw: limit: each source, destination or flow has its own")
{
    const auto limited = [](const char* per) { return rules("{name: r, limit: {rate: 1/h, burst: 2, per: " + std::string{per} + "}, action: allow}"); };
    struct Expected {
        const char* per;
        bool other_source, other_destination, other_port, other_protocol, other_direction;
    };
    for (const auto& [per, source, destination, port, protocol, direction] :
         {Expected{"rule", false, false, false, false, false}, Expected{"src", true, false, false, false, true},
          Expected{"dst", false, true, false, false, true}, Expected{"flow", true, true, true, true, true}}) {
        INFO("per " << per);
        Chain chain{limited(per)};
        CHECK(matches(chain, from("10.1.0.1"), "r", 3) == 2);
        CHECK(matches(chain, from("10.1.0.2"), "r", 3) == (source ? 2 : 0));
        CHECK(matches(chain, from("10.1.0.1", "10.2.0.3"), "r", 3) == (destination ? 2 : 0));
        CHECK(matches(chain, from("10.1.0.1", "10.2.0.2", 1001), "r", 3) == (port ? 2 : 0));
        CHECK(matches(chain, packet(Eth{}, Ipv4{.src = "10.1.0.1"}, Tcp{.sport = 1000, .dport = 80}), "r", 3) == (protocol ? 2 : 0));
        CHECK(matches(chain, from("10.2.0.2", "10.1.0.1", 80, 1000), "r", 3) == (direction ? 2 : 0));
        CHECK(matches(chain, from("10.1.0.1"), "r", 3) == 0);
    }
    Chain six{limited("src")};
    CHECK(matches(six, from("2001:db8::1", "2001:db8::2"), "r", 3) == 2);
    CHECK(matches(six, from("2001:db8::3", "2001:db8::2"), "r", 3) == 2);
    CHECK(matches(six, from("2001:db8::1", "2001:db8::9"), "r", 3) == 0);
}

TEST_CASE("fw: limit: rules do not spend what belongs to others")
{
    Chain chain{rules("{name: one, dport: 1, limit: {rate: 1/h, burst: 1, per: src}, action: allow}, "
                      "{name: two, dport: 2, limit: {rate: 1/h, burst: 1, per: src}, action: allow}")};
    for (const std::uint16_t port : {1, 2}) {
        const auto frame = from("10.1.0.1", "10.2.0.2", 1000, port);
        CHECK(matches(chain, frame, port == 1 ? "one" : "two", 3) == 1);
    }
}

TEST_CASE("fw: limit: a packet over the limits of five rules is dropped as too much to search for")
{
    std::string list;
    for (int i = 0; i < 6; ++i) list += "{name: r" + std::to_string(i) + ", limit: {rate: 1/h, burst: 1}, action: allow}, ";
    Chain chain{rules(list)};
    for (int i = 0; i < 5; ++i) CHECK(decide(chain, from("10.1.0.1")) == "r" + std::to_string(i));
    const auto result = chain.run("a", from("10.1.0.1"));
    CHECK(result.verdict == EVNF_DROP);
    CHECK(result.reason == "search_limit");
}

TEST_CASE("fw: limit: of many rules the first that matches and is within its limit decides")
{
    const auto seed = std::random_device{}();
    std::mt19937 random{seed};
    INFO("seed " << seed);
    for (int policy = 0; policy < 6; ++policy) {
        auto model = random_fw_rules(random, 5 + random() % 300);
        std::map<std::string, int> left;
        for (auto& rule : model)
            if (random() % 2) {
                rule.action += ", limit: {rate: 1/h, burst: 2}";
                left[rule.name] = 2;
            }
        Chain chain{configuration(fw_settings(model, "drop"))};
        for (int i = 0; i < 300; ++i) {
            const auto frame = i % 3 ? fw_frame_near(random, model) : random_fw_frame(random);
            const std::string port(1, static_cast<char>('a' + random() % 3));
            auto rest = model;
            std::string wanted;
            for (int tries = 0; tries < 5 && wanted.empty(); ++tries) {
                const auto first = fw_decides(rest, reference_parse(frame), port);
                const auto limit = left.find(first);
                if (limit == left.end() || limit->second-- > 0)
                    wanted = first;
                else
                    rest.erase(rest.begin(), std::next(std::find_if(rest.begin(), rest.end(), [&](const auto& rule) { return rule.name == first; })));
            }
            const auto result = chain.run(port, frame);
            INFO("policy " << policy << " port " << port << " " << describe(frame));
            if (wanted.empty()) // over the limits of five
                REQUIRE(result.reason == "search_limit");
            else
                REQUIRE(result.plugins.at("fw").at("rule").as_string() == wanted);
        }
    }
}

TEST_CASE("fw: limit: CPUs together let pass no more than one would")
{
    for (const char* per : {"rule", "src"}) {
        INFO("per " << per);
        Chain chain{rules("{name: r, limit: {rate: 1/h, burst: 200000, per: " + std::string{per} + "}, action: allow}")};
        const auto frame = from("10.1.0.1");
        std::thread other{[&] { chain.cost_ns("a", frame, 200000); }};
        chain.cost_ns("b", frame, 200000);
        other.join();
        CHECK(counter(chain, "r", "packets") == 200000);
        CHECK(counter(chain, "r", "over_limit") == 200000);
    }
}

TEST_CASE("fw: limit: a rate is kept to, whatever the kernel's tick")
{
    Chain chain{rules("{name: r, limit: {rate: 50000/s, burst: 10000, per: dst}, action: allow}")};
    const auto frame = from("10.1.0.1");
    const auto begin = std::chrono::steady_clock::now();
    chain.cost_ns("a", frame, 2000000);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    const double passed = static_cast<double>(counter(chain, "r", "packets"));
    // What comes while others have the processor is made up for as far as the burst goes.
    CHECK(passed <= 10000 + 50000 * time.count());
    CHECK(passed >= 0.8 * 50000 * time.count());
}

TEST_CASE("fw: limit: a table without room lets no unknown source pass, and says so")
{
    const auto list = "{name: r, limit: {rate: 1/h, burst: 10, per: src}, action: allow}, {name: rest, action: drop}";
    Chain chain{rules(list, "limits: {max: 4}, ")};
    for (int i = 1; i <= 4; ++i) CHECK(decide(chain, from("10.1.0." + std::to_string(i))) == "r");
    CHECK(matches(chain, from("10.1.0.5"), "rest", 3) == 3);
    CHECK(counter(chain, "r", "limit_table_full") == 3);
    CHECK(counter(chain, "r", "over_limit") == 3);
    CHECK(decide(chain, from("10.1.0.4")) == "r");
}

TEST_CASE("fw: limit: who has been quiet for long enough leaves the table")
{
    Chain chain{rules("{name: r, limit: {rate: 50/s, burst: 1, per: src}, action: allow}", "limits: {max: 4}, ")};
    for (int i = 1; i <= 4; ++i) CHECK(decide(chain, from("10.1.0." + std::to_string(i))) == "r");
    CHECK(decide(chain, from("10.1.0.5")) == "default");
    const auto deadline = std::chrono::steady_clock::now() + 5s;
    std::string decided;
    while (decided != "r" && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(50ms);
        chain.poll();
        decided = decide(chain, from("10.1.0.5"));
    }
    CHECK(decided == "r");
}

TEST_CASE("fw: limit: a reload spends and refunds nothing")
{
    const auto with = [](const std::string& limit, const std::string& before = "") {
        return rules(before + "{name: r, dport: 80, limit: {" + limit + "}, action: allow}");
    };
    for (const std::string per : {"rule", "src"}) {
        INFO("per " << per);
        Chain chain{with("rate: 1/h, burst: 2, per: " + per)};
        CHECK(matches(chain, from("10.1.0.1"), "r", 3) == 2);
        chain.reload(with("rate: 1/h, burst: 2, per: " + per, "{name: new, dport: 9, limit: {rate: 1/s, per: dst}, action: drop}, "));
        CHECK(decide(chain, from("10.1.0.1")) == "default");
        CHECK(counter(chain, "r", "over_limit") == 2);
        // What was spent of a slow limit does not close a fast one for hours.
        chain.reload(with("rate: 100/s, burst: 2, per: " + per));
        std::this_thread::sleep_for(50ms);
        decide(chain, from("10.1.0.1"));
        std::this_thread::sleep_for(50ms);
        CHECK(decide(chain, from("10.1.0.1")) == "r");
    }
}

TEST_CASE("fw: limit: a new rule starts with all of its burst, whoever had its place before")
{
    Chain chain{rules("{name: a, limit: {rate: 1/h, burst: 1}, action: allow}")};
    CHECK(decide(chain, from("10.1.0.1")) == "a");
    for (const char* name : {"b", "a", "b", "a"}) {
        chain.reload(rules("{name: " + std::string{name} + ", limit: {rate: 1/h, burst: 1}, action: allow}"));
        CHECK(decide(chain, from("10.1.0.1")) == name);
        CHECK(decide(chain, from("10.1.0.1")) == "default");
    }
}

TEST_CASE("fw: limit: later fragments and packets without ports have limits, too")
{
    Chain chain{rules("{name: r, limit: {rate: 1/h, burst: 1, per: flow}, action: allow}")};
    const Payload text{std::string(32, 'x')};
    for (const auto& frame : {packet(Eth{}, Ipv4{.fragment_offset = 4, .protocol = 17}, text), packet(Eth{}, Ipv4{.protocol = 47}, text)}) {
        CHECK(decide(chain, frame) == "r");
        CHECK(decide(chain, frame) == "default");
    }
}
