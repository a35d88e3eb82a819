// SPDX-License-Identifier: MIT
#include <evnf/config.hpp>

#include <functional>

#include "catch.hpp"

using namespace std::chrono_literals;
using evnf::Map;
using evnf::Node;
using evnf::Problems;

namespace {

using Lines = std::vector<std::string>;

/// Reads `yaml` as the file "f" with `read`, and gives the problems.
Lines problems(const std::string& yaml, const std::function<void(Map&)>& read)
{
    Problems found{"f"};
    const auto root = YAML::Load(yaml);
    Map map{Node{root, "", root.Mark(), found}};
    read(map);
    return found.errors();
}

/// Reads the value of the key `a`.
Lines problems_of_a(const std::string& yaml, const std::function<void(const Node&)>& read)
{
    return problems(yaml, [&](Map& map) { read(map.required("a")); });
}

} // namespace

TEST_CASE("config: a good value is no problem")
{
    CHECK(problems("{name: web, port: 80, on: true, wait: 500ms, room: 2MB}", [](Map& map) {
              CHECK(map.required("name").string() == "web");
              CHECK(map.required("port").integer(1, 65535) == 80);
              CHECK(map.required("on").boolean());
              CHECK(map.required("wait").duration(1ms, 1h) == 500ms);
              CHECK(map.required("room").size(0, 1'000'000'000) == 2'000'000);
              map.done();
          }).empty());
}

TEST_CASE("config: a problem says file, line and column from 1, the path and what was there")
{
    CHECK(problems_of_a("\n\na:   many", [](const Node& a) { a.integer(1, 9); }) ==
          Lines{"f:3:6: a: must be a whole number from 1 to 9, not 'many'"});
}

TEST_CASE("config: all problems are reported, in the order of the file")
{
    const auto lines = problems("b: x\na: y\nc: z", [](Map& map) {
        map.required("a").integer(0, 1);
        map.required("b").boolean();
        map.done();
    });
    REQUIRE(lines.size() == 3);
    CHECK(lines[0].starts_with("f:1:4: b:"));
    CHECK(lines[1].starts_with("f:2:4: a:"));
    CHECK(lines[2].starts_with("f:3:1: c: unknown key"));
}

TEST_CASE("config: an unknown key is refused, with the name that was meant")
{
    CHECK(problems("dprot: 80", [](Map& map) {
              map.optional("dport");
              map.optional("src");
              map.done();
          }) == Lines{"f:1:1: dprot: unknown key (did you mean 'dport'?)"});
}

TEST_CASE("config: a key that is there twice is refused")
{
    CHECK(problems("a: 1\na: 2", [](Map& map) {
              map.optional("a");
              map.done();
          }) == Lines{"f:2:1: a: is there twice"});
}

TEST_CASE("config: a missing key is reported once, at the map")
{
    CHECK(problems("b: 1", [](Map& map) {
              map.ignore("b");
              CHECK(map.required("a").string().empty());
              map.done();
          }).size() == 1);
}

TEST_CASE("config: a key without a value counts as absent")
{
    CHECK(problems("a:", [](Map& map) {
              CHECK_FALSE(map.optional("a"));
              map.done();
          }).empty());
}

TEST_CASE("config: what this version does not support is refused by name")
{
    CHECK(problems("limit: {rate: 1}", [](Map& map) {
              map.not_supported("limit");
              map.done();
          }) == Lines{"f:1:1: not supported by this version: limit"});
    CHECK(problems("{}", [](Map& map) { map.not_supported("limit"); }).empty());
}

TEST_CASE("config: whole numbers keep to their range")
{
    const auto refuses = [](const char* yaml) {
        INFO(yaml);
        return problems_of_a(yaml, [](const Node& a) { CHECK(a.integer(1, 65535) == 1); }).size() == 1;
    };
    for (const char* yaml : {"a: 0", "a: 65536", "a: -1", "a: 1.5", "a: 80x", "a: ''", "a: [1]", "a: {b: 1}",
                             "a: 99999999999999999999", "a: 0x", "a: +1"})
        CHECK(refuses(yaml));
    CHECK(problems_of_a("a: 0x10", [](const Node& a) { CHECK(a.integer(0, 99) == 16); }).empty());
}

TEST_CASE("config: times have units and bounds")
{
    const auto read = [](const std::string& text) {
        std::pair<std::chrono::milliseconds, std::size_t> result;
        result.second =
            problems_of_a("a: " + text, [&](const Node& a) { result.first = a.duration(10ms, 2h); }).size();
        return result;
    };
    CHECK(read("10ms") == std::pair{10ms, std::size_t{0}});
    CHECK(read("30s").first == 30s);
    CHECK(read("5m").first == 5min);
    CHECK(read("2h") == std::pair{std::chrono::milliseconds{2h}, std::size_t{0}});
    for (const char* bad :
         {"9ms", "3h", "121m", "30", "s", "-1s", "1.5s", "1 s", "1d", "99999999999999999999s"}) {
        INFO(bad);
        CHECK(read(bad).second == 1);
    }
}

TEST_CASE("config: sizes are powers of 1000")
{
    const auto read = [](const std::string& text) {
        std::pair<std::uint64_t, std::size_t> result;
        result.second = problems_of_a("a: " + text, [&](const Node& a) {
                            result.first = a.size(1, 4'000'000'000);
                        }).size();
        return result;
    };
    CHECK(read("64kB").first == 64'000);
    CHECK(read("1MB").first == 1'000'000);
    CHECK(read("4GB") == std::pair{std::uint64_t{4'000'000'000}, std::size_t{0}});
    CHECK(read("17").first == 17);
    for (const char* bad : {"0", "5GB", "1KB", "1 MB", "-1", "18446744073709551616", "18446744073710GB"}) {
        INFO(bad);
        CHECK(read(bad).second == 1);
    }
}

TEST_CASE("config: rates are events a second")
{
    const auto read = [](const std::string& text) {
        std::pair<std::uint64_t, std::size_t> result;
        result.second = problems_of_a("a: " + text, [&](const Node& a) { result.first = a.rate(2, 1000); }).size();
        return result;
    };
    CHECK(read("125/s") == std::pair{std::uint64_t{125}, std::size_t{0}});
    CHECK(read("2/s").first == 2);
    CHECK(read("1000/s").first == 1000);
    for (const char* bad : {"1/s", "1001/s", "125", "125/m", "125 /s", "-5/s", "/s", "[5/s]", "18446744073709551621/s"}) {
        INFO(bad);
        CHECK(read(bad).second == 1);
    }
}

TEST_CASE("config: one of the names, or the names and the nearest")
{
    enum class Stop { keep, detach };
    const std::vector<std::pair<std::string_view, Stop>> choices{{"keep", Stop::keep},
                                                                 {"detach", Stop::detach}};
    CHECK(
        problems_of_a("a: detach", [&](const Node& a) { CHECK(a.one_of(choices) == Stop::detach); }).empty());
    CHECK(problems_of_a("a: detatch", [&](const Node& a) { a.one_of(choices); }) ==
          Lines{"f:1:4: a: must be one of keep, detach, not 'detatch' (did you mean 'detach'?)"});
}

TEST_CASE("config: a scalar counts as a list of one")
{
    const auto items = [](const std::string& yaml) {
        std::vector<std::string> texts;
        problems_of_a(yaml, [&](const Node& a) {
            for (const auto& item : a.list()) texts.push_back(item.string());
        });
        return texts;
    };
    CHECK(items("a: web") == Lines{"web"});
    CHECK(items("a: [web, dns]") == Lines{"web", "dns"});
    CHECK(items("a: []").empty());
}

TEST_CASE("config: an item of a list is named by its number")
{
    CHECK(problems_of_a("a: [1, two]", [](const Node& a) {
              for (const auto& item : a.list()) item.integer(0, 9);
          }) == Lines{"f:1:8: a[1]: must be a whole number from 0 to 9, not 'two'"});
}

TEST_CASE("config: addresses and prefixes are refused with the reason")
{
    CHECK(problems_of_a("a: 10.0.0.1/8", [](const Node& a) { a.prefix(); }) ==
          Lines{"f:1:4: a: '10.0.0.1/8' has host bits set; the network is 10.0.0.0/8"});
    CHECK(problems_of_a("a: web", [](const Node& a) { a.address(); }) ==
          Lines{"f:1:4: a: 'web' is no IPv4 or IPv6 address"});
}

TEST_CASE("config: what should be a map and is none is one problem")
{
    CHECK(problems_of_a("a: [1, 2]", [](const Node& a) {
              Map map{a};
              map.required("name").string();
              map.done();
          }) == Lines{"f:1:4: a: must be a map of keys and values"});
}

TEST_CASE("config: warnings do not refuse")
{
    Problems found{"f"};
    found.warning(YAML::Mark{}, "careful");
    CHECK(found.empty());
    CHECK(found.warnings().size() == 1);
}
