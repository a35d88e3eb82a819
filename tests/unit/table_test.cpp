// SPDX-License-Identifier: MIT
#include "evnfctl/table.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <sstream>

#include "catch.hpp"

using evnf::ctl::to_text;

namespace {

std::string text(std::string_view json, std::size_t width = evnf::ctl::kTextWidth)
{
    return to_text(boost::json::parse(json), width);
}

std::size_t longest_line(const std::string& text)
{
    std::istringstream lines{text};
    std::size_t longest = 0;
    for (std::string line; std::getline(lines, line);) {
        const auto characters =
            std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
        longest = std::max(longest, static_cast<std::size_t>(characters));
    }
    return longest;
}

} // namespace

TEST_CASE("table: columns are the keys in order of first appearance")
{
    CHECK(text(R"([{"name":"web","action":"allow"},{"limit":"x","name":"ping"}])") ==
          "name  action  limit\n"
          "web   allow   -\n"
          "ping  -       x\n");
}

TEST_CASE("table: numbers are right-aligned with thousands separators")
{
    CHECK(text(R"([{"name":"a","packets":1234567},{"name":"b","packets":18446744073709551615},)"
               R"({"name":"c","packets":-999},{"name":"d","packets":-1000}])") ==
          "name                     packets\n"
          "a                      1,234,567\n"
          "b     18,446,744,073,709,551,615\n"
          "c                           -999\n"
          "d                         -1,000\n");
}

TEST_CASE("table: fractions keep their digits")
{
    CHECK(text(R"([{"load":0.41},{"load":1234.5},{"load":null}])") == "   load\n"
                                                                      "   0.41\n"
                                                                      "1,234.5\n"
                                                                      "      -\n");
}

TEST_CASE("table: port numbers are not amounts")
{
    CHECK(text(R"([{"sport":54321,"client_port":8080,"bytes":8080}])") == "sport  client port  bytes\n"
                                                                          "54321         8080  8,080\n");
}

TEST_CASE("table: booleans, null, lists and objects in cells")
{
    CHECK(text(R"([{"up":true,"sni":null,"chain":["fw","lb"],"none":[],"more":{"a":1}},{"up":false}])") ==
          "up   sni  chain   none  more\n"
          "yes    -  fw, lb  -     {\"a\":1}\n"
          "no     -  -       -     -\n");
}

TEST_CASE("table: rows that do not fit go on in further lines, and nothing of them is lost")
{
    const std::string out = text(R"([{"service":"web","why":"load above the mean","packets":1234,"state":"up"},)"
                                 R"({"service":"dns","why":"-","packets":5,"state":"down"}])", 30);
    CHECK(out == "service  why\n"
                 "    packets  state\n"
                 "web      load above the mean\n"
                 "      1,234  up\n"
                 "dns      -\n"
                 "          5  down\n");
}

TEST_CASE("table: a text that is longer than a line is cut")
{
    const std::string wide(80, 'x'), wider(120, 'y');
    const std::string out = text(R"([{"packets":123456789,"a":")" + wide + R"(","b":")" + wider + R"("}])");
    CHECK(longest_line(out) == 100);
    CHECK(out.find("123,456,789  " + wide) != std::string::npos);
    CHECK(out.find("yyy…") != std::string::npos);
}

TEST_CASE("table: one that grows has a line for each row, and cuts the widest texts until it fits")
{
    const std::string wide(80, 'x'), wider(120, 'y');
    evnf::ctl::GrowingTable table;
    const std::string out = table.add(boost::json::parse(R"([{"packets":1,"a":")" + wide + R"(","b":")" + wider + R"("}])").as_array());
    CHECK(longest_line(out) == 100);
    CHECK(std::count(out.begin(), out.end(), '\n') == 2);
    CHECK(out.find("xxx…") != std::string::npos);
    CHECK(out.find("yyy…") != std::string::npos);
}

TEST_CASE("table: a table that fits is not cut")
{
    const std::string name(92, 'x');
    const std::string out = text(R"([{"name":")" + name + R"(","n":12345}])");
    CHECK(longest_line(out) == 100);
    CHECK(out.find(name) != std::string::npos);
}

TEST_CASE("table: letters beyond ASCII count as one column and are never cut in half")
{
    CHECK(text(R"([{"name":"größe","n":1},{"name":"x","n":2}])") == "name   n\n"
                                                                     "größe  1\n"
                                                                     "x      2\n");
    CHECK(text(R"([{"name":"ääääääääää"}])", 8) == "name\näääääää…\n");
}

TEST_CASE("table: control characters of packet contents do not reach the terminal")
{
    CHECK(text(R"([{"sni":"a\u001b[31m\nb\u007f\u009b"}])") == "sni\na?[31m?b??\n");
}

TEST_CASE("table: an object becomes aligned lines and titled tables, in its order")
{
    CHECK(text(R"({"state":"running","generation":3,"ports":[{"name":"eth0","up":true}],"plugins":[],)"
               R"("lost_events":1000})") == "state        running\n"
                                            "generation   3\n"
                                            "\n"
                                            "ports\n"
                                            "  name  up\n"
                                            "  eth0  yes\n"
                                            "\n"
                                            "plugins      -\n"
                                            "lost events  1,000\n");
}

TEST_CASE("table: an object in an object is a titled block")
{
    CHECK(text(R"({"a":{"b":1,"cc":"x"}})") == "a\n  b   1\n  cc  x\n");
}

TEST_CASE("table: what is no table is printed line by line")
{
    CHECK(text(R"(["a",1,null])") == "a\n1\n-\n");
    CHECK(text(R"("reloaded")") == "reloaded\n");
    CHECK(text("null").empty());
    CHECK(text("[]").empty());
    CHECK(text("[{}]").empty());
}

TEST_CASE("table: one that grows has one heading, and columns that only grow")
{
    evnf::ctl::GrowingTable table;
    const auto add = [&](std::string_view rows) { return table.add(boost::json::parse(rows).as_array()); };
    CHECK(add("[]") == "");
    CHECK(add(R"([{"rule":"web","dport":80}])") == "rule  dport\nweb      80\n");
    CHECK(add(R"([{"rule":"longer","dport":443}])") == "longer    443\n");
    CHECK(add("[]") == "");
    CHECK(add(R"([{"rule":"web","dport":8080}])") == "web      8080\n");
}

TEST_CASE("table: a time is shown by its time of day")
{
    CHECK(text(R"([{"time":"2026-11-27T09:01:02.123+01:00"}])") == "time\n09:01:02.123\n");
    CHECK(text(R"([{"time":"now"}])") == "time\nnow\n");
}

TEST_CASE("table: seconds are shown in the largest unit")
{
    CHECK(text(R"([{"name":"a","last_hit_s":0},{"name":"b","last_hit_s":59},{"name":"c","last_hit_s":3599},)"
               R"({"name":"d","last_hit_s":7300},{"name":"e","last_hit_s":8640000},{"name":"f","last_hit_s":null}])") ==
          "name  last hit\n"
          "a          0 s\n"
          "b         59 s\n"
          "c         59 m\n"
          "d          2 h\n"
          "e        100 d\n"
          "f        never\n");
    CHECK(text(R"({"confirm_within_s":30,"age_s":null})") == "confirm within  30 s\nage             -\n");
}
