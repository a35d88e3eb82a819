// SPDX-License-Identifier: MIT
/// The states of a connection and how long it may rest in each.
#include "../../plugins/lb/connections.hpp"

#include "catch.hpp"

using namespace std::chrono_literals;
using evnf::lb::Limits;
using evnf::lb::name_of;

namespace {

/// Of a connection that is kept, when its sides have said this.
std::string_view kept(lb_head by_client, lb_head by_server)
{
    return name_of(lb_state_of(LB_USED | LB_ANSWERED | LB_KEPT | lb_said(by_client, LB_TO_SERVER) | lb_said(by_server, LB_TO_CLIENT)));
}

} // namespace

TEST_CASE("lb states: a connection is established when it is kept")
{
    CHECK(name_of(lb_state_of(LB_USED)) == "syn");
    CHECK(name_of(lb_state_of(LB_USED | LB_ANSWERED)) == "syn");
    CHECK(kept(0, 0) == "established");
    CHECK(kept(LB_ACKED, LB_ACKED) == "established");
}

TEST_CASE("lb states: one FIN half closes, two close")
{
    CHECK(kept(LB_FIN, 0) == "fin");
    CHECK(kept(0, LB_FIN) == "fin");
    CHECK(kept(LB_FIN, LB_FIN) == "closed");
}

TEST_CASE("lb states: a reset closes whoever sends it")
{
    CHECK(kept(LB_RST, 0) == "closed");
    CHECK(kept(LB_FIN, LB_RST) == "closed");
}

TEST_CASE("lb states: UDP has one")
{
    CHECK(name_of(lb_state_of(LB_USED | LB_UDP)) == "udp");
    CHECK(name_of(lb_state_of(LB_USED | LB_UDP | LB_ANSWERED | LB_KEPT)) == "udp");
}

TEST_CASE("lb states: idle is what the latest packet says, also when the clock comes round and for a packet of just now")
{
    constexpr std::uint64_t unit = 1 << LB_SEEN_SHIFT;
    for (const std::uint64_t then : {std::uint64_t{0}, std::uint64_t{0xffffff00}, std::uint64_t{0x1fffffff0}}) {
        CHECK(lb_idle(LB_USED | LB_KEPT | lb_seen_at(then), then) == 0);
        CHECK(lb_idle(LB_USED | LB_KEPT | lb_seen_at(then), then + 1000 * unit) == 1000 * unit);
        CHECK(lb_idle(LB_USED | LB_KEPT | lb_seen_at(then + unit), then) == -static_cast<int>(unit));
    }
}

TEST_CASE("lb states: each has its timeout, in jiffies; a half-closed connection waits minutes, not hours")
{
    const Limits limits{{.syn = 7s, .established = 1h, .fin = 9s, .udp = 11s}, 250};
    CHECK(limits.of(LB_STATE_SYN) == 7 * 250);
    CHECK(limits.of(LB_STATE_ESTABLISHED) == 3600 * 250);
    CHECK(limits.of(LB_STATE_FIN) == 300 * 250);
    CHECK(limits.of(LB_STATE_CLOSED) == 9 * 250);
    CHECK(limits.of(LB_STATE_UDP) == 11 * 250);
    CHECK(limits.shortest() == 9 * 250); // of what is kept
    CHECK(Limits({.established = 60s, .fin = 9s}, 250).of(LB_STATE_FIN) == 60 * 250);
    CHECK(Limits({.fin = 1h}, 250).of(LB_STATE_FIN) == 3600 * 250);
}

TEST_CASE("lb states: the longest timeouts stay below half of the 32-bit clock, at 1000 jiffies a second too")
{
    CHECK(Limits({.established = 168h}, 1000).of(LB_STATE_ESTABLISHED) == 604'800'000);
}
