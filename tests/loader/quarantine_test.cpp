// SPDX-License-Identifier: MIT
/// What a plugin does wrong while it runs, and that nobody else has to suffer for it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <boost/asio/io_context.hpp>
#include <thread>

#include "catch.hpp"
#include "evnfd/dataplane.hpp"
#include "evnfd/log.hpp"
#include "evnfd/report.hpp"
#include "packet.hpp"

using Catch::Matchers::ContainsSubstring;
using namespace std::chrono_literals;

namespace {

/// A chain whose slow paths run on a loop and on threads, as in the daemon, and that is attached to nothing.
class Running {
public:
    explicit Running(const std::vector<std::string>& plugins) : plugins_{plugins} { reload(); }

    void reload()
    {
        const auto yaml = fmt::format("ports: [{{name: eth0, chain: [{}]}}]\nplugins: {{{}: {{}}}}\n", fmt::join(plugins_, ", "),
                                      fmt::join(plugins_, ": {}, "));
        auto candidate = dataplane_.stage_text(yaml, "evnf.yaml");
        dataplane_.load(candidate);
        dataplane_.commit(std::move(candidate));
    }
    void send(unsigned packets)
    {
        const auto frame = evnf::test::packet(evnf::test::Eth{}, evnf::test::Ipv4{}, evnf::test::Udp{});
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = static_cast<__u32>(frame.size()),
                    .repeat = static_cast<int>(packets));
        REQUIRE(bpf_prog_test_run_opts(dataplane_.generation().entries().at("eth0").xdp, &options) == 0);
    }
    /// Runs the loop until then; false when that is not within 10 s.
    template <class Condition>
    bool loop_until(Condition condition)
    {
        for (const auto end = std::chrono::steady_clock::now() + 10s; !condition();) {
            if (std::chrono::steady_clock::now() > end) return false;
            io_.restart();
            io_.run_for(10ms);
        }
        return true;
    }
    evnf::Instance& plugin(const std::string& name) { return *dataplane_.instances().at(name); }
    bool quarantined(const std::string& name) { return loop_until([&] { return plugin(name).quarantined(); }); }
    boost::json::value ask(const std::string& name, const std::string& verb = "") { return plugin(name).query(verb, {}); }
    std::uint64_t number(const std::string& name) { return ask(name).to_number<std::uint64_t>(); }
    /// Records for this plugin that found no room.
    std::uint64_t lost(const std::string& name)
    {
        const auto counters = dataplane_.generation().framework_map("evnf_stages");
        std::uint64_t lost = 0;
        for (const auto& cpu : counters.find_per_cpu<evnf_stage_counters>(dataplane_.stages().at(name))) lost += cpu.lost_events;
        return lost;
    }
    std::uint64_t forwarded()
    {
        return evnf::stats(dataplane_, 0).at("ports").at(0).at("forward").to_number<std::uint64_t>();
    }
    boost::json::object status(const std::string& name)
    {
        const auto all = evnf::status(dataplane_, "", [](const auto&) { return evnf::PortStatus{"none", false}; });
        for (const auto& one : all.at("plugins").as_array())
            if (one.at("name").as_string() == name) return one.as_object();
        return {};
    }
    /// A second of the daemon's life: did this plugin's heartbeat move?
    bool beats(const std::string& name)
    {
        const auto heartbeats = dataplane_.generation().framework_map("evnf_heartbeats");
        const __u32 stage = dataplane_.stages().at(name);
        heartbeats.update(stage, __u64{1});
        dataplane_.beat();
        return heartbeats.find<__u64>(stage) != __u64{1};
    }

private:
    static const evnf::FastPathClock& clock()
    {
        static const evnf::FastPathClock clock;
        return clock;
    }

    boost::asio::io_context io_;
    std::vector<std::string> plugins_;
    evnf::Dataplane dataplane_{
        {io_.get_executor(), &clock(), evnf::make_log(evnf::LogStyle::plain, spdlog::level::off), EVNF_LOADER_PLUGIN_DIR, false},
        nullptr, true};
};

} // namespace

TEST_CASE("quarantine: a ring whose consumer always throws is left alone, and the others' rings are read on")
{
    Running running{{"throws_in_consumer", "counts_records"}};
    running.send(100);
    CHECK(running.quarantined("throws_in_consumer"));
    CHECK(running.number("throws_in_consumer") == evnf::kQuarantineFailures);
    CHECK(running.loop_until([&] { return running.number("counts_records") == 100; }));
    running.send(50);
    CHECK(running.loop_until([&] { return running.number("counts_records") == 150; }));
    CHECK(running.number("throws_in_consumer") == evnf::kQuarantineFailures);
    CHECK(running.forwarded() == 150);
}

TEST_CASE("quarantine: the same for a ring on a thread of its own, whatever is thrown")
{
    Running running{{"throws_in_worker", "counts_records"}};
    running.send(100);
    CHECK(running.quarantined("throws_in_worker"));
    CHECK_THAT(running.plugin("throws_in_worker").trouble(),
               ContainsSubstring("a ring's consumer failed: threw what is no std::exception"));
    CHECK(running.loop_until([&] { return running.number("counts_records") == 100; }));
    CHECK(running.number("throws_in_worker") == evnf::kQuarantineFailures);
}

TEST_CASE("quarantine: a timer that always throws is stopped, and the loop goes on")
{
    Running running{{"throws_in_timer", "counts_records"}};
    CHECK(running.quarantined("throws_in_timer"));
    running.send(3);
    CHECK(running.loop_until([&] { return running.number("counts_records") == 3; }));
    CHECK(running.number("throws_in_timer") == evnf::kQuarantineFailures);
}

TEST_CASE("quarantine: status says that it is, and why")
{
    Running running{{"throws_in_timer", "counts_records"}};
    REQUIRE(running.quarantined("throws_in_timer"));
    const auto status = running.status("throws_in_timer");
    CHECK(status.at("state").as_string() == "degraded");
    CHECK(status.at("failures").to_number<std::size_t>() == evnf::kQuarantineFailures);
    CHECK(status.at("trouble").as_string() ==
          "quarantined until a reload: 10 failures, the last: a handler failed: no such luck");
    CHECK(running.status("counts_records").at("state").as_string() == "ok");
}

TEST_CASE("quarantine: one failure is told, and nothing else comes of it")
{
    Running running{{"throws_once"}};
    CHECK(running.loop_until([&] { return running.ask("throws_once").as_bool(); }));
    CHECK_FALSE(running.plugin("throws_once").quarantined());
    CHECK(running.status("throws_once").at("state").as_string() == "degraded");
    CHECK(running.status("throws_once").at("trouble").as_string() == "1 failure, the last: a handler failed: no such luck");
    CHECK(running.beats("throws_once"));
    running.reload();
    CHECK(running.status("throws_once").at("state").as_string() == "ok");
}

TEST_CASE("quarantine: a reload puts a fresh instance in the place of one in quarantine, and only of that one")
{
    Running running{{"throws_in_timer", "counts_records"}};
    REQUIRE(running.quarantined("throws_in_timer"));
    running.send(3);
    REQUIRE(running.loop_until([&] { return running.number("counts_records") == 3; }));
    running.reload();
    CHECK_FALSE(running.plugin("throws_in_timer").quarantined());
    CHECK(running.number("throws_in_timer") == 0);
    CHECK(running.quarantined("throws_in_timer"));
    CHECK(running.number("counts_records") == 3);
}

TEST_CASE("heartbeat: a plugin in quarantine has none, the others have")
{
    Running running{{"throws_in_timer", "counts_records"}};
    CHECK(running.beats("throws_in_timer"));
    REQUIRE(running.quarantined("throws_in_timer"));
    CHECK_FALSE(running.beats("throws_in_timer"));
    CHECK(running.beats("counts_records"));
}

TEST_CASE("heartbeat: a stuck worker has none until it is free again")
{
    Running running{{"sticks_in_worker", "counts_records"}};
    CHECK(running.loop_until([&] { return running.beats("sticks_in_worker"); }));
    running.send(1);
    REQUIRE(running.loop_until([&] { return running.ask("sticks_in_worker", "stuck").as_bool(); }));
    running.beats("sticks_in_worker"); // the turn that it was in
    CHECK_FALSE(running.beats("sticks_in_worker"));
    CHECK(running.beats("counts_records"));
    running.ask("sticks_in_worker", "free");
    CHECK(running.loop_until([&] { return running.beats("sticks_in_worker"); }));
}

TEST_CASE("rings: one that no generation uses is not read; one that goes out of use is read to its end")
{
    Running running{{"uses_ring_at_times", "counts_records"}};
    running.send(10);
    CHECK(running.loop_until([&] { return running.number("counts_records") == 10; }));
    CHECK(running.number("uses_ring_at_times") == 0);
    CHECK(running.beats("uses_ring_at_times"));
    running.reload();
    CHECK(running.loop_until([&] { return running.number("uses_ring_at_times") == 10; }));
    running.reload();
    running.send(10); // as by packets that were in the former generation when it was replaced
    CHECK(running.loop_until([&] { return running.number("uses_ring_at_times") == 20; }));
    running.reload();
    running.send(10);
    CHECK(running.loop_until([&] { return running.number("uses_ring_at_times") == 30; }));
    CHECK(running.lost("uses_ring_at_times") == 0);
}

TEST_CASE("isolation: a flood of one plugin's ring takes nothing from another's")
{
    Running running{{"throws_in_consumer", "counts_records"}};
    // In quarantine it is not read any more; it has room for 4096 records of 16 bytes.
    for (std::uint64_t sent = 1000; sent <= 10000; sent += 1000) {
        running.send(1000);
        CHECK(running.loop_until([&] { return running.number("counts_records") == sent; }));
    }
    CHECK(running.quarantined("throws_in_consumer"));
    CHECK(running.lost("throws_in_consumer") > 5000);
    CHECK(running.lost("counts_records") == 0);
    CHECK(running.forwarded() == 10000);
}

TEST_CASE("isolation: more than one turn's records are read without waiting for the next tick")
{
    Running running{{"counts_records"}};
    running.send(4000);
    const auto before = std::chrono::steady_clock::now();
    CHECK(running.loop_until([&] { return running.number("counts_records") == 4000; }));
    CHECK(std::chrono::steady_clock::now() - before < 1s); // 16 turns, 100 ms a tick
}
