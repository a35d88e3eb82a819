// SPDX-License-Identifier: MIT
// Ports that get copies of packets: the chain sees them, and nothing comes of them.
#include "catch.hpp"
#include "chain.hpp"
#include "packet.hpp"
#include "router.hpp"

namespace {

using namespace evnf::test;

const Payload kData{"what the copies carry, all of it"};

void check_ended(const Result& result, const std::string& stage)
{
    CHECK(result.verdict == EVNF_DROP);
    CHECK(result.reason == "tap");
    CHECK(result.stage == stage);
}

std::string tap(const std::string& chain, const std::string& plugins)
{
    return "ports: [{name: eth0, tap: true, chain: " + chain + "}, {name: eth1, chain: " + chain + "}]\nplugins:\n" + plugins;
}

} // namespace

TEST_CASE("tap: a copy goes through the chain and ends behind it")
{
    Chain chain{tap("[fw, dpi]", "  fw: {default: next}\n  dpi: {}\n")};
    const auto result = chain.run("eth0", packet(Eth{}, Ipv4{}, Udp{.dport = 53}, kData));
    check_ended(result, "forwarder");
    CHECK(result.plugins.contains("fw"));
    CHECK(result.plugins.contains("dpi"));
    CHECK(chain.query("dpi", "flows").as_array().size() == 1);
}

TEST_CASE("tap: a port with the same chain that is no tap goes on as ever")
{
    Chain chain{tap("[dpi]", "  dpi: {}\n")};
    check_ended(chain.run("eth0", packet(Eth{}, Ipv4{}, Udp{}, kData)), "forwarder");
    CHECK(chain.run("eth1", packet(Eth{}, Ipv4{}, Udp{}, kData)).verdict == EVNF_FORWARD);
}

TEST_CASE("tap: what is no IP ends at once, and what would be link control is looked at")
{
    Chain chain{tap("[dpi]", "  dpi: {}\n")};
    check_ended(chain.run("eth0", packet(Eth{.dst = "ff:ff:ff:ff:ff:ff", .type = 0x0806}, kData)), "entry");
    check_ended(chain.run("eth0", packet(Eth{}, Ipv4{}, Udp{.sport = 67, .dport = 68}, kData)), "forwarder");
    check_ended(chain.run("eth0", packet(Eth{}, Ipv6{.hop_limit = 255}, Icmpv6{.type = 135}, kData)), "forwarder");
}

TEST_CASE("tap: frames for other stations are taken, and nothing is routed, in any direction")
{
    Router router{Router::Mode::tap};
    router.set_port(0, {.mac = {2, 0, 0, 0, 0, 1}, .wire = EVNF_NO_PORT});
    router.ip("neighbour add 10.3.1.2 lladdr 02:00:00:00:03:02 dev eth1");
    for (const auto* station : {"02:00:00:00:00:01", "02:00:00:00:0a:0a", "01:00:5e:00:00:01"})
        for (const auto* destination : {"10.3.1.2", "10.1.0.1", "192.0.2.1"}) {
            const auto result = router.run(packet(Eth{.dst = station}, Ipv4{.src = "10.1.0.2", .dst = destination}, Tcp{}));
            INFO(station << ' ' << destination);
            CHECK(result.action == Action::dropped);
            CHECK(unsigned{result.packet.reason} == EVNF_REASON_TAP);
            CHECK(unsigned{result.packet.decided_by} == EVNF_STAGE_FORWARDER);
        }
}

TEST_CASE("tap: a stage neither answers a copy nor leaves it to the kernel")
{
    Chain chain{tap("[fw, lb]", R"(
  fw:
    default: netfilter
    rules:
      - {name: closed, proto: tcp, dport: 81, action: reject}
      - {name: ping, proto: icmp, action: allow}
  lb:
    services: [{name: web, vip: 10.9.0.1, port: 80, proto: tcp, backends: [{name: s1, address: 10.3.1.2}]}]
)")};
    const auto closed = packet(Eth{}, Ipv4{.dst = "10.9.0.1"}, Tcp{.dport = 81, .flags = SYN});
    const auto ping = packet(Eth{}, Ipv4{.dst = "10.9.0.1"}, Icmp{.type = 8}, kData);
    const auto other = packet(Eth{}, Ipv4{.dst = "10.9.0.1"}, Tcp{.dport = 82, .flags = SYN});
    REQUIRE(chain.run("eth1", closed).verdict == EVNF_REPLY);
    REQUIRE(chain.run("eth1", ping).verdict == EVNF_REPLY);
    REQUIRE(chain.run("eth1", other).verdict == EVNF_KERNEL);
    check_ended(chain.run("eth0", closed), "fw");
    check_ended(chain.run("eth0", ping), "lb");
    check_ended(chain.run("eth0", other), "fw");
}

TEST_CASE("tap: what a rule drops is dropped by that rule, and what is malformed by that name")
{
    Chain chain{tap("[fw]", "  fw: {default: next, rules: [{name: no-telnet, proto: tcp, dport: 23, action: drop}]}\n")};
    CHECK(chain.run("eth0", packet(Eth{}, Ipv4{}, Tcp{.dport = 23, .flags = SYN})).reason == "rule");
    auto malformed = packet(Eth{}, Ipv4{}, Tcp{});
    malformed[14] = std::byte{0x44}; // a header of 16 bytes
    CHECK(chain.run("eth0", malformed).reason == "malformed_ipv4");
}
