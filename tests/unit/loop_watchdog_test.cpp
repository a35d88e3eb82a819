// SPDX-License-Identifier: MIT
#include "evnfd/loop_watchdog.hpp"

#include <spdlog/sinks/ringbuffer_sink.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "catch.hpp"

using Catch::Matchers::ContainsSubstring;
using evnf::LoopActivity;
using evnf::LoopWatchdog;
using namespace std::chrono_literals;

namespace {

/// A loop under watch, and what the watchdog logs.
struct Watched {
    boost::asio::io_context io;
    std::shared_ptr<LoopActivity> activity = std::make_shared<LoopActivity>();
    std::shared_ptr<spdlog::sinks::ringbuffer_sink_mt> lines = std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(16);
    LoopWatchdog watchdog{io.get_executor(), activity, std::make_shared<spdlog::logger>("test", lines), 40ms};

    /// Blocks until the watchdog has logged so many lines; false when that takes too long.
    bool logged(std::size_t count) const
    {
        const auto end = std::chrono::steady_clock::now() + 10s;
        while (lines->last_formatted().size() < count && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(1ms);
        return lines->last_formatted().size() >= count;
    }
};

} // namespace

TEST_CASE("watchdog: a loop that is held is told with what holds it, and told again when it turns")
{
    Watched loop;
    boost::asio::post(loop.io, [&] {
        const LoopActivity::Scope outer{*loop.activity, "dpi: query"};
        { const LoopActivity::Scope inner{*loop.activity, "dpi: something short"}; }
        CHECK(loop.logged(1));
    });
    while (loop.watchdog.record().stalls == 0) loop.io.run_for(1ms), loop.io.restart();
    REQUIRE(loop.logged(2));
    const auto lines = loop.lines->last_formatted();
    CHECK_THAT(lines[0], ContainsSubstring("the loop has not turned for") && ContainsSubstring("held by dpi: query"));
    CHECK_THAT(lines[1], ContainsSubstring("the loop turns again, after"));
    CHECK(loop.watchdog.record().stalls == 1);
    CHECK(loop.watchdog.record().longest >= 40ms);
}

TEST_CASE("watchdog: a loop that turns is nothing to speak of")
{
    Watched loop;
    loop.io.run_for(200ms);
    CHECK(loop.watchdog.record().stalls == 0);
    CHECK(loop.lines->last_formatted().empty());
}
