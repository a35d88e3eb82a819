// SPDX-License-Identifier: MIT
#include "evnfd/replay.hpp"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "catch.hpp"
#include "evnfd/capture.hpp"
#include "evnfd/log.hpp"
#include "packet.hpp"

namespace {

using namespace evnf::test;
namespace fs = std::filesystem;
namespace json = boost::json;

/// A folder with a configuration and a capture, gone with the test.
class Replay {
public:
    Replay() { fs::create_directories(folder_); }
    ~Replay() { fs::remove_all(folder_); }

    fs::path path(const char* name) const { return folder_ / name; }
    void capture(const std::vector<std::vector<std::byte>>& frames) const
    {
        evnf::CaptureWriter writer{path("in.pcap").string()};
        for (const auto& frame : frames) writer.write(frame, std::chrono::seconds{1});
        writer.close();
    }
    /// The JSON lines; `out.pcap` has what left the chain.
    std::vector<json::object> run(const std::string& yaml, const std::string& port = "eth0") const
    {
        std::ofstream{path("evnf.yaml")} << yaml;
        static const evnf::FastPathClock clock;
        boost::asio::io_context io;
        std::stringstream out;
        evnf::replay({path("in.pcap"), path("evnf.yaml").string(), port, path("out.pcap"), true},
                     {io.get_executor(), &clock, evnf::make_log(evnf::LogStyle::plain, spdlog::level::err), EVNF_PLUGIN_DIR, true},
                     out);
        std::vector<json::object> lines;
        for (std::string line; std::getline(out, line);) lines.push_back(json::parse(line).as_object());
        return lines;
    }

private:
    fs::path folder_ = fs::temp_directory_path() / fmt::format("evnf-replay-{}", getpid());
};

const std::string kFirewall = "ports: [{name: eth0, chain: fw}]\n"
                              "plugins:\n"
                              "  fw:\n"
                              "    default: next\n"
                              "    rules: [{name: bad, proto: tcp, dport: 23, action: drop}]\n";

std::vector<std::byte> tcp_to(std::uint16_t port)
{
    return packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "10.2.0.2"}, Tcp{.sport = 1234, .dport = port, .flags = SYN});
}

} // namespace

TEST_CASE("replay: every packet has a line with its verdict, stage, reason and rule")
{
    const Replay replay;
    replay.capture({tcp_to(80), tcp_to(23)});
    const auto lines = replay.run(kFirewall);
    REQUIRE(lines.size() == 3);
    CHECK(json::serialize(lines[0]) ==
          R"({"packet":1,"verdict":"forward","stage":"forwarder","reason":null,"fw":{"rule":"default"}})");
    CHECK(json::serialize(lines[1]) == R"({"packet":2,"verdict":"drop","stage":"fw","reason":"rule","fw":{"rule":"bad"}})");
}

TEST_CASE("replay: the last line has the counts and each plugin's table")
{
    const Replay replay;
    replay.capture({tcp_to(80), tcp_to(23), tcp_to(23)});
    const auto last = replay.run(kFirewall).back();
    CHECK(json::serialize(last.at("summary")) ==
          R"({"packets":3,"forward":1,"drop":2,"kernel":0,"local":0,"reply":0,"skipped":0})");
    const auto& rules = last.at("fw").at("rules").as_array();
    REQUIRE(rules.size() == 2);
    CHECK(rules[0].at("packets").to_number<int>() == 2);
}

TEST_CASE("replay: --write keeps what left the chain, and nothing that was dropped")
{
    const Replay replay;
    replay.capture({tcp_to(23), tcp_to(80)});
    replay.run(kFirewall);
    evnf::CaptureReader reader{replay.path("out.pcap").string()};
    const auto frame = reader.next();
    REQUIRE(frame);
    CHECK(frame->bytes == tcp_to(80));
    CHECK_FALSE(reader.next());
}

TEST_CASE("replay: a frame that no chain can be run on is skipped with the reason")
{
    const Replay replay;
    replay.capture({std::vector<std::byte>(10), std::vector<std::byte>(9000), tcp_to(80)});
    const auto lines = replay.run(kFirewall);
    REQUIRE(lines.size() == 4);
    CHECK(lines[0].at("verdict") == "skipped");
    CHECK(lines[0].at("reason") == "shorter than an Ethernet header");
    CHECK(lines[1].at("verdict") == "skipped");
    CHECK(lines[2].at("verdict") == "forward");
}

TEST_CASE("replay: a port that is not in the configuration is refused by its name")
{
    const Replay replay;
    replay.capture({tcp_to(80)});
    CHECK_THROWS_WITH(replay.run(kFirewall, "eth7"), Catch::Matchers::ContainsSubstring("--port eth7"));
}
