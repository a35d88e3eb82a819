// SPDX-License-Identifier: MIT
/// The firewall's modifier log: what is told of a packet, and what is not.
#include <boost/json.hpp>

#include "catch.hpp"
#include "chain.hpp"
#include "heartbeat.hpp"
#include "packet.hpp"

using namespace evnf::test;
namespace json = boost::json;

namespace {

std::string rules(const std::string& list)
{
    return "ports: [{name: a, chain: [fw]}, {name: b, chain: [fw]}]\nplugins: {fw: {default: drop, rules: [" + list + "]}}\n";
}

json::array log_of(Chain& chain, std::vector<std::string> args = {})
{
    return chain.query("fw", "log", std::move(args)).as_array();
}

json::object only(Chain& chain)
{
    const auto rows = log_of(chain, {"details"});
    REQUIRE(rows.size() == 1);
    return rows[0].as_object();
}

std::string text(const json::object& row, const char* key)
{
    return row.at(key).as_string().c_str();
}

std::int64_t number(const json::object& row, const char* key)
{
    return row.at(key).to_number<std::int64_t>();
}

std::string hex(const Frame& frame, std::size_t size)
{
    std::string out;
    for (std::size_t i = 0; i < std::min(frame.size(), size); ++i) {
        char digits[3];
        std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(frame[i]));
        out += digits;
    }
    return out;
}

std::int64_t suppressed(Chain& chain)
{
    return chain.query("fw", "rules").as_array().at(0).at("log_suppressed").to_number<std::int64_t>();
}

} // namespace

TEST_CASE("fw: log: a record tells of the packet as it came, and of what became of it")
{
    Chain chain{rules("{name: told, proto: tcp, action: drop, log: true}")};
    const auto frame = packet(Eth{}, Vlan{.id = 7}, Ipv4{}, Tcp{.sport = 1234, .dport = 80, .flags = SYN}, Payload{std::string(200, 'x')});
    CHECK(chain.run("b", frame).verdict == EVNF_DROP);
    const auto row = only(chain);
    CHECK(text(row, "rule") == "told");
    CHECK(text(row, "action") == "drop");
    CHECK(text(row, "verdict") == "drop");
    CHECK(text(row, "reason") == "rule");
    CHECK(text(row, "port") == "b");
    CHECK(text(row, "proto") == "tcp");
    CHECK(text(row, "src") == "10.1.0.2");
    CHECK(number(row, "sport") == 1234);
    CHECK(text(row, "dst") == "10.2.0.2");
    CHECK(number(row, "dport") == 80);
    CHECK(number(row, "length") == static_cast<std::int64_t>(frame.size()));
    CHECK(number(row, "vlan") == 7);
    CHECK(number(row, "tcp_flags") == SYN);
    CHECK(text(row, "frame") == hex(frame, 128));
    CHECK(row.at("time").as_string().size() == std::string{"2026-11-27T09:01:02.123+01:00"}.size());
    CHECK(suppressed(chain) == 0);
}

TEST_CASE("fw: log: each action acts as it does without")
{
    struct Expected {
        const char *action, *verdict;
        evnf_verdict decided;
    };
    for (const auto& [action, verdict, decided] : {Expected{"allow", "next", EVNF_FORWARD}, Expected{"netfilter", "kernel", EVNF_KERNEL},
                                                   Expected{"drop", "drop", EVNF_DROP}, Expected{"reject", "reply", EVNF_REPLY}}) {
        INFO(action);
        Chain chain{rules("{name: r, action: " + std::string{action} + ", log: true}")};
        const auto frame = packet(Eth{}, Ipv6{}, Udp{}, Payload{"text"});
        CHECK(chain.run("a", frame).verdict == decided);
        const auto row = only(chain);
        CHECK(text(row, "action") == action);
        CHECK(text(row, "verdict") == verdict);
        CHECK(text(row, "src") == "2001:db8:1::2");
        CHECK(text(row, "frame") == hex(frame, 128)); // not that of the answer
    }
    Chain chain{rules("{name: r, action: reject, log: true}")};
    chain.run("a", packet(Eth{}, Ipv4{}, Tcp{.flags = RST}));
    CHECK(text(only(chain), "verdict") == "drop");
}

TEST_CASE("fw: log: what has no ports has none in the record, and a short frame is there as a whole")
{
    Chain chain{rules("{name: r, action: drop, log: true}")};
    const auto ping = packet(Eth{}, Ipv4{}, Icmp{.type = 8}), later = packet(Eth{}, Ipv4{.fragment_offset = 4, .protocol = 17}, Payload{std::string(32, 'x')}),
               gre = packet(Eth{}, Ipv4{.protocol = 47}, Raw{{1}});
    for (const auto& frame : {ping, later, gre}) chain.run("a", frame);
    const auto rows = log_of(chain, {"details"});
    REQUIRE(rows.size() == 3);
    for (const auto& row : rows) CHECK((row.at("sport").is_null() && row.at("dport").is_null()));
    CHECK(number(rows[0].as_object(), "icmp_type") == 8);
    CHECK(text(rows[0].as_object(), "frame") == hex(ping, 128));
    CHECK(text(rows[1].as_object(), "proto") == "udp");
    CHECK(text(rows[2].as_object(), "proto") == "gre");
    CHECK(text(rows[2].as_object(), "frame") == hex(gre, 128));
}

TEST_CASE("fw: log: only rules that say so are told of")
{
    Chain chain{rules("{name: told, dport: 1, action: drop, log: true}, {name: silent, dport: 2, action: drop, log: false}")};
    for (const std::uint16_t port : {2, 1, 3}) chain.run("a", packet(Eth{}, Ipv4{}, Udp{.dport = port}));
    CHECK(text(only(chain), "rule") == "told");
}

TEST_CASE("fw: log: the latest come last, as many as were asked for")
{
    Chain chain{rules("{name: r, action: drop, log: true}")};
    for (std::uint16_t port = 1; port <= 30; ++port) chain.run("a", packet(Eth{}, Ipv4{}, Udp{.dport = port}));
    CHECK(log_of(chain).size() == 20);
    const auto three = log_of(chain, {"-n", "3"});
    REQUIRE(three.size() == 3);
    CHECK(number(three[0].as_object(), "dport") == 28);
    CHECK(number(three[2].as_object(), "dport") == 30);
    CHECK(log_of(chain, {"-n", "100"}).size() == 30);
    CHECK_FALSE(three[0].as_object().contains("frame"));
    for (const std::vector<std::string>& wrong : {std::vector<std::string>{"-n"}, {"-n", "x"}, {"since", "x"}, {"all"}})
        CHECK_THROWS(chain.query("fw", "log", wrong));
}

TEST_CASE("fw: log: a reader with a cursor gets each record once, and is told what it missed")
{
    Chain chain{rules("{name: r, action: drop, log: true}")};
    const auto since = [&](std::vector<std::string> args) {
        args.insert(args.begin(), "since");
        return chain.query("fw", "log", std::move(args)).as_object();
    };
    const auto send = [&](int count) {
        for (int i = 0; i < count; ++i) chain.run("a", packet(Eth{}, Ipv4{}, Udp{}));
    };
    send(5);
    auto answer = since({"-n", "2"});
    CHECK(answer.at("rows").as_array().size() == 2);
    CHECK(number(answer, "cursor") == 5);
    answer = since({"5"});
    CHECK(answer.at("rows").as_array().empty());
    send(3);
    answer = since({"5"});
    CHECK(answer.at("rows").as_array().size() == 3);
    CHECK(number(answer, "missed") == 0);
    CHECK(since({"1000"}).at("rows").as_array().size() == 8); // the daemon was restarted
}

TEST_CASE("fw: log: a reload keeps the records, and names rules as they were")
{
    Chain chain{rules("{name: before, action: drop, log: true}")};
    chain.run("a", packet(Eth{}, Ipv4{}, Udp{}));
    chain.reload(rules("{name: after, action: drop, log: true}"));
    chain.run("a", packet(Eth{}, Ipv4{}, Udp{}));
    const auto rows = log_of(chain);
    REQUIRE(rows.size() == 2);
    CHECK(text(rows[0].as_object(), "rule") == "before");
    CHECK(text(rows[1].as_object(), "rule") == "after");
}

TEST_CASE("fw: log: a flood is sampled, and what is not told of is counted apart from what is lost")
{
    Chain chain{rules("{name: r, action: drop, log: true}")};
    constexpr int kPackets = 200000;
    const auto frame = packet(Eth{}, Ipv4{}, Udp{});
    chain.cost_ns("a", frame, kPackets);
    chain.run("a", frame); // reads the ring
    const auto told = chain.query("fw", "log", {"since", "0"}).as_object();
    CHECK(number(told, "cursor") >= 1000);
    CHECK(number(told, "cursor") < kPackets / 2);
    CHECK(suppressed(chain) == kPackets + 1 - number(told, "cursor"));
    CHECK(chain.stats().at("lost_events") == 0);
    CHECK(told.at("rows").as_array().size() <= 4096);
    CHECK(number(told, "missed") + static_cast<std::int64_t>(told.at("rows").as_array().size()) == number(told, "cursor"));
}

TEST_CASE("fw: log: while there is nobody to tell, nothing is told")
{
    Chain chain{rules("{name: r, action: drop, log: true}")};
    set_heartbeats(chain, Heartbeat::past);
    CHECK(chain.run("a", packet(Eth{}, Ipv4{}, Udp{})).verdict == EVNF_DROP);
    CHECK(log_of(chain).empty());
    CHECK(suppressed(chain) == 1);
}
