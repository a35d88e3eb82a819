// SPDX-License-Identifier: MIT
/// Reloads that go back by themselves.
#include "evnfd/confirmation.hpp"

#include <vector>

#include "catch.hpp"

using namespace std::chrono_literals;
using evnf::Confirmation;
using evnf::read_trial_time;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Scene {
    boost::asio::io_context io;
    std::vector<std::string> gone_back;
    Confirmation confirmation{io, [this](const std::string& text) { gone_back.push_back(text); }};

    /// Until nothing is awaited any more.
    void run() { io.restart(), io.run(); }
};

} // namespace

TEST_CASE("confirmation: times are from a second to an hour")
{
    CHECK(read_trial_time("1s") == 1s);
    CHECK(read_trial_time("1500ms") == 1500ms);
    CHECK(read_trial_time("5m") == 5min);
    CHECK(read_trial_time("1h") == 1h);
    for (const char* wrong : {"", "30", "s", "999ms", "0s", "61m", "2h", "-5s", "5 s", "5s ", "1d", "4294967296s", "4294967295h", "1.5s"})
        CHECK_THROWS_WITH(read_trial_time(wrong), ContainsSubstring("from 1s to 1h"));
}

TEST_CASE("confirmation: without it, what was before comes back once")
{
    Scene scene;
    scene.confirmation.expect("old", 20ms);
    CHECK(scene.confirmation.left() == 1s);
    scene.run();
    CHECK(scene.gone_back == std::vector<std::string>{"old"});
    CHECK_FALSE(scene.confirmation.left());
    CHECK_THROWS_WITH(scene.confirmation.confirm(), ContainsSubstring("nothing to confirm"));
}

TEST_CASE("confirmation: what is confirmed stays")
{
    Scene scene;
    scene.confirmation.expect("old", 1h);
    CHECK(scene.confirmation.left() == 3600s);
    scene.confirmation.confirm();
    CHECK_FALSE(scene.confirmation.left());
    scene.run();
    CHECK(scene.gone_back.empty());
    CHECK_THROWS(scene.confirmation.confirm());
}

TEST_CASE("confirmation: a second trial begins anew, and goes back to what was confirmed last")
{
    Scene scene;
    // Both are over at once, and the second trial comes first.
    boost::asio::steady_timer second{scene.io, 1ms};
    second.async_wait([&](boost::system::error_code) { scene.confirmation.expect("on trial", 200ms); });
    scene.confirmation.expect("confirmed", 1ms);
    const auto over = std::chrono::steady_clock::now() + 5ms;
    while (std::chrono::steady_clock::now() < over) {}
    scene.io.poll();
    CHECK(scene.gone_back.empty());
    CHECK(scene.confirmation.left() == 1s);
    scene.run();
    CHECK(scene.gone_back == std::vector<std::string>{"confirmed"});
    scene.confirmation.expect("next", 1ms);
    scene.run();
    CHECK(scene.gone_back.back() == "next");
}
