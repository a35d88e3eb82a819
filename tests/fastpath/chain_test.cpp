// SPDX-License-Identifier: MIT
// What becomes of a packet whose next stage is missing.
#include "catch.hpp"
#include "chain.hpp"
#include "packet.hpp"

namespace {

using namespace evnf::test;

// The slots of the only chain: fw 0, dpi 1, forwarder 2.
constexpr __u32 kFw = 0, kDpi = 1, kForwarder = 2;

std::string configuration(const std::string& fw_on_error)
{
    return "ports: [{name: eth0, chain: [fw, dpi]}]\n"
           "plugins:\n"
           "  fw: {default: next" + fw_on_error + "}\n"
           "  dpi: {}\n";
}

Result run_without(Chain& chain, __u32 slot)
{
    REQUIRE(chain.map("", "evnf_chain").erase(slot));
    return chain.run("eth0", packet(Eth{}, Ipv4{}, Udp{}));
}

int missed(Chain& chain)
{
    return chain.stats().at("missed_tail_calls").to_number<int>();
}

} // namespace

TEST_CASE("chain: all stages see the packet, and none is missed")
{
    Chain chain{configuration("")};
    const auto result = chain.run("eth0", packet(Eth{}, Ipv4{}, Udp{}));
    CHECK(result.verdict == EVNF_FORWARD);
    CHECK(result.stage == "forwarder");
    CHECK(result.plugins.contains("fw"));
    CHECK(result.plugins.contains("dpi"));
    CHECK(missed(chain) == 0);
}

TEST_CASE("chain: a missing firewall drops, by name and counted")
{
    Chain chain{configuration("")};
    const auto result = run_without(chain, kFw);
    CHECK(result.verdict == EVNF_DROP);
    CHECK(result.reason == "missed_tail_call");
    CHECK(result.stage == "entry");
    CHECK(missed(chain) == 1);
}

TEST_CASE("chain: a missing stage whose on_error is skip is passed over, and counted")
{
    Chain chain{configuration("")};
    const auto result = run_without(chain, kDpi);
    CHECK(result.verdict == EVNF_FORWARD);
    CHECK(result.plugins.contains("fw"));
    CHECK_FALSE(result.plugins.contains("dpi"));
    CHECK(missed(chain) == 1);
}

TEST_CASE("chain: on_error of the configuration wins over the plugin's own")
{
    Chain chain{configuration(", on_error: skip")};
    const auto result = run_without(chain, kFw);
    CHECK(result.verdict == EVNF_FORWARD);
    CHECK(result.plugins.contains("dpi"));
    CHECK(missed(chain) == 1);
}

TEST_CASE("chain: two stages missing in a row are both counted")
{
    Chain chain{configuration(", on_error: skip")};
    REQUIRE(chain.map("", "evnf_chain").erase(kDpi));
    CHECK(run_without(chain, kFw).verdict == EVNF_FORWARD);
    CHECK(missed(chain) == 2);
}

TEST_CASE("chain: a missing forwarder drops: nothing stands behind it")
{
    Chain chain{configuration("")};
    const auto result = run_without(chain, kForwarder);
    CHECK(result.verdict == EVNF_DROP);
    CHECK(result.reason == "missed_tail_call");
    CHECK(missed(chain) == 1);
}
