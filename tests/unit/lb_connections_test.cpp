// SPDX-License-Identifier: MIT
/// The states of a connection and how long it may rest in each.
#include "../../plugins/lb/connections.hpp"

#include "catch.hpp"

using namespace std::chrono_literals;
using evnf::lb::Limits;
using evnf::lb::name_of;

namespace {

std::string_view tcp(unsigned to_server, unsigned to_client)
{
    return name_of(lb_state_of(IPPROTO_TCP, static_cast<__u8>(to_server), static_cast<__u8>(to_client)));
}

} // namespace

TEST_CASE("lb states: a connection is established when both sides have said more than SYN")
{
    CHECK(tcp(0, 0) == "syn");
    CHECK(tcp(0, LB_OPEN) == "syn"); // SYN, SYN-ACK
    CHECK(tcp(LB_OPEN, 0) == "syn"); // picked up in its midst; nothing heard of the server yet
    CHECK(tcp(LB_OPEN, LB_OPEN) == "established");
}

TEST_CASE("lb states: one FIN half closes, two close, and a FIN that nobody answers proves nothing")
{
    CHECK(tcp(LB_OPEN | LB_FIN, LB_OPEN) == "fin");
    CHECK(tcp(LB_OPEN, LB_OPEN | LB_FIN) == "fin");
    CHECK(tcp(LB_OPEN | LB_FIN, LB_OPEN | LB_FIN) == "closed");
    CHECK(tcp(LB_OPEN | LB_FIN, 0) == "syn");
}

TEST_CASE("lb states: a reset closes whoever sends it")
{
    CHECK(tcp(LB_OPEN | LB_RST, LB_OPEN) == "closed");
    CHECK(tcp(0, LB_OPEN | LB_RST) == "closed"); // connection refused
}

TEST_CASE("lb states: UDP has one")
{
    CHECK(name_of(lb_state_of(IPPROTO_UDP, LB_OPEN, LB_OPEN)) == "udp");
}

TEST_CASE("lb states: each has its timeout, in jiffies; a half-closed connection waits minutes, not hours")
{
    const Limits limits{{.syn = 7s, .established = 1h, .fin = 9s, .udp = 11s}, 250};
    CHECK(limits.of(LB_STATE_SYN) == 7 * 250);
    CHECK(limits.of(LB_STATE_ESTABLISHED) == 3600 * 250);
    CHECK(limits.of(LB_STATE_FIN) == 300 * 250);
    CHECK(limits.of(LB_STATE_CLOSED) == 9 * 250);
    CHECK(limits.of(LB_STATE_UDP) == 11 * 250);
    CHECK(limits.shortest() == 7 * 250);
    CHECK(Limits({.established = 60s, .fin = 9s}, 250).of(LB_STATE_FIN) == 60 * 250);
    CHECK(Limits({.fin = 1h}, 250).of(LB_STATE_FIN) == 3600 * 250);
}

TEST_CASE("lb states: the longest timeouts stay below half of the 32-bit clock, at 1000 jiffies a second too")
{
    CHECK(Limits({.established = 168h}, 1000).of(LB_STATE_ESTABLISHED) == 604'800'000);
}
