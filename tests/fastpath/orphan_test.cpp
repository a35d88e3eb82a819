// SPDX-License-Identifier: MIT
/// What a stage does with packets while its slow path is dead.
#include "catch.hpp"
#include "chain.hpp"
#include "heartbeat.hpp"
#include "packet.hpp"

using namespace evnf::test;

namespace {

std::string configuration(const std::string& fw, const std::string& dpi = "")
{
    return "ports: [{name: eth0, chain: [dpi, fw]}]\n"
           "plugins: {fw: {default: next" + fw + "}, dpi: {" + dpi + "}}\n";
}

Result send(Chain& chain)
{
    return chain.run("eth0", packet(Eth{}, Ipv4{}, Udp{}));
}

} // namespace

TEST_CASE("orphan: drop drops by name and counted while there is no slow path, and not when it is back")
{
    Chain chain{configuration(", orphan: drop")};
    CHECK(send(chain).verdict == EVNF_FORWARD);
    for (const auto dead : {Heartbeat::past, Heartbeat::never}) {
        set_heartbeats(chain, dead);
        const auto result = send(chain);
        CHECK(result.verdict == EVNF_DROP);
        CHECK(result.reason == "orphaned");
        CHECK(result.stage == "fw");
    }
    CHECK(chain.stats().at("drops") ==
          boost::json::value{{{"stage", "fw"}, {"reason", "orphaned"}, {"packets", 2u}}});
    set_heartbeats(chain, Heartbeat::alive);
    CHECK(send(chain).verdict == EVNF_FORWARD);
}

TEST_CASE("orphan: keep, which is the default, goes on with what the stage has")
{
    for (const std::string orphan : {"", ", orphan: keep"}) {
        Chain chain{configuration(orphan)};
        set_heartbeats(chain, Heartbeat::past);
        CHECK(send(chain).verdict == EVNF_FORWARD);
    }
}

TEST_CASE("orphan: each plugin has its own")
{
    Chain chain{configuration("", "orphan: drop")};
    set_heartbeats(chain, Heartbeat::past);
    const auto result = send(chain);
    CHECK(result.reason == "orphaned");
    CHECK(result.stage == "dpi");
}
