// SPDX-License-Identifier: MIT
/// The Forwarder, with the kernel's own FIB behind it: what it sends, and what it leaves to the kernel and
/// why.
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include "catch.hpp"
#include "chain.hpp"
#include "packet.hpp"
#include "router.hpp"

using namespace evnf::test;

namespace {

const std::string kServerMac = "02:00:00:00:03:02";
const Ipv4 kToServer{.src = "10.1.0.2", .dst = "10.3.1.2"};
const Ipv6 kToServer6{.src = "2001:db8:1::2", .dst = "2001:db8:31::2"};
const Payload kData{"0123456789abcdef"};

/// A router that knows the server's MAC address.
struct Ready : Router {
    explicit Ready(Mode mode = Mode::route) : Router{mode}
    {
        ip("neighbour add 10.3.1.2 lladdr " + kServerMac + " dev eth1 nud permanent");
        ip("neighbour add 2001:db8:31::2 lladdr " + kServerMac + " dev eth1 nud permanent");
    }
};

std::string mac(const Frame& frame, std::size_t offset)
{
    std::string text;
    for (std::size_t i = 0; i < 6; ++i) {
        const auto byte = std::to_integer<unsigned>(frame.at(offset + i));
        text += std::string(i ? ":" : "") + "0123456789abcdef"[byte >> 4] + "0123456789abcdef"[byte & 15];
    }
    return text;
}

std::string destination_mac(const Frame& frame)
{
    return mac(frame, 0);
}

void check_kernel(Router& router, const Frame& frame, evnf_reason reason)
{
    const auto result = router.run(frame);
    INFO(describe(frame));
    CHECK(result.action == Action::to_kernel);
    CHECK(unsigned{result.packet.verdict} == EVNF_KERNEL);
    CHECK(unsigned{result.packet.reason} == unsigned{reason});
    CHECK(result.frame == frame); // untouched
}

/// The kernel asks for the MAC address and sends the packet; at XDP the handover behind takes from the TTL.
void check_unresolved(Router& router, const Frame& frame, const Frame& sent_at_tc)
{
    const auto result = router.run(frame);
    INFO(describe(frame));
    CHECK(result.action == Action::unresolved);
    CHECK(unsigned{result.packet.verdict} == EVNF_KERNEL);
    CHECK(unsigned{result.packet.reason} == EVNF_REASON_NO_NEIGHBOUR);
    CHECK(result.frame == (at_tc ? sent_at_tc : frame));
}

} // namespace

TEST_CASE("forwarder: a routed packet has the next hop's MAC, a lower TTL and a good checksum")
{
    Ready router;
    const auto sent = packet(Eth{}, kToServer, Tcp{}, kData);
    const auto result = router.run(sent);
    CHECK(result.action == Action::sent);
    CHECK(unsigned{result.packet.verdict} == EVNF_FORWARD);
    CHECK(destination_mac(result.frame) == kServerMac);
    CHECK(mac(result.frame, 6) != mac(sent, 6));
    Ipv4 routed = kToServer;
    routed.ttl = 63;
    const auto wanted = packet(Eth{.dst = kServerMac, .src = mac(result.frame, 6)}, routed, Tcp{}, kData);
    CHECK(result.frame == wanted);
}

TEST_CASE("forwarder: the same over IPv6")
{
    Ready router;
    const auto result = router.run(packet(Eth{}, kToServer6, Udp{}, kData));
    CHECK(result.action == Action::sent);
    Ipv6 routed = kToServer6;
    routed.hop_limit = 63;
    CHECK(result.frame == packet(Eth{.dst = kServerMac, .src = mac(result.frame, 6)}, routed, Udp{}, kData));
}

TEST_CASE("forwarder: the header checksum holds for every TTL and many headers")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random{seed};
    Ready router;
    for (unsigned ttl = 2; ttl < 256; ++ttl) {
        for (int i = 0; i < 8; ++i) {
            Ipv4 ip = kToServer;
            ip.ttl = static_cast<std::uint8_t>(ttl);
            ip.id = static_cast<std::uint16_t>(random());
            const auto result = router.run(packet(Eth{}, ip, Udp{}, kData));
            INFO("ttl " << ttl << " id " << ip.id);
            REQUIRE(result.action == Action::sent);
            CHECK(checksums_ok(result.frame));
            CHECK(std::to_integer<unsigned>(result.frame[14 + 8]) == ttl - 1);
        }
    }
}

TEST_CASE("forwarder: what leaves by the port it came from is sent back there")
{
    Ready router;
    router.ip("route add 10.9.0.0/16 via 10.1.0.9");
    router.ip("neighbour add 10.1.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent");
    Ipv4 back = kToServer;
    back.dst = "10.9.1.1";
    const auto result = router.run(packet(Eth{}, back, Tcp{}));
    CHECK(result.action == Action::sent);
    CHECK(unsigned{result.packet.verdict} == EVNF_FORWARD);
    CHECK(destination_mac(result.frame) == "02:00:00:00:00:09");
}

TEST_CASE("forwarder: an exhausted TTL is the kernel's, which answers it")
{
    Ready router;
    for (const unsigned ttl : {0u, 1u}) {
        Ipv4 v4 = kToServer;
        v4.ttl = static_cast<std::uint8_t>(ttl);
        check_kernel(router, packet(Eth{}, v4, Tcp{}), EVNF_REASON_TTL_EXPIRED);
        Ipv6 v6 = kToServer6;
        v6.hop_limit = static_cast<std::uint8_t>(ttl);
        check_kernel(router, packet(Eth{}, v6, Tcp{}), EVNF_REASON_TTL_EXPIRED);
    }
}

TEST_CASE("forwarder: options and VLAN tags are the kernel's")
{
    Ready router;
    Ipv4 options = kToServer;
    options.options = "\x94\x04";
    check_kernel(router, packet(Eth{}, options, Tcp{}), EVNF_REASON_IP_OPTIONS);
    check_kernel(router, packet(Eth{}, kToServer6, HopByHop{}, Tcp{}), EVNF_REASON_IP_OPTIONS);
    check_kernel(router, packet(Eth{}, Vlan{.id = 7}, kToServer, Tcp{}), EVNF_REASON_VLAN);
}

TEST_CASE("forwarder: addresses that no router forwards are the kernel's")
{
    Ready router;
    for (const char* address :
         {"0.0.0.0", "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255", "240.0.0.1"}) {
        Ipv4 to = kToServer, from = kToServer;
        to.dst = address;
        from.src = address;
        check_kernel(router, packet(Eth{}, to, Udp{}), EVNF_REASON_NOT_UNICAST);
        check_kernel(router, packet(Eth{}, from, Udp{}), EVNF_REASON_NOT_UNICAST);
    }
    for (const char* address : {"::", "::1", "ff02::1", "fe80::1", "febf::1"}) {
        Ipv6 to = kToServer6, from = kToServer6;
        to.dst = address;
        from.src = address;
        check_kernel(router, packet(Eth{}, to, Udp{}), EVNF_REASON_NOT_UNICAST);
        check_kernel(router, packet(Eth{}, from, Udp{}), EVNF_REASON_NOT_UNICAST);
    }
}

TEST_CASE("forwarder: an own address is the kernel's")
{
    Ready router;
    check_kernel(router, packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "10.3.1.1"}, Tcp{}),
                 EVNF_REASON_NOT_FORWARDED);
    check_kernel(router, packet(Eth{}, Ipv6{.src = "2001:db8:1::2", .dst = "2001:db8:1::1"}, Tcp{}),
                 EVNF_REASON_NOT_FORWARDED);
}

TEST_CASE("forwarder: without a neighbour or a route the kernel asks or answers")
{
    Ready router;
    check_unresolved(router, packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "10.3.1.77"}, Tcp{}),
                     packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "10.3.1.77", .ttl = 63}, Tcp{}));
    check_kernel(router, packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "192.0.2.1"}, Tcp{}),
                 EVNF_REASON_NOT_FORWARDED);
    router.ip("route add blackhole 198.18.0.0/24");
    router.ip("route add unreachable 198.18.1.0/24");
    router.ip("route add prohibit 198.18.2.0/24");
    for (const char* address : {"198.18.0.1", "198.18.1.1", "198.18.2.1"})
        check_kernel(router, packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = address}, Tcp{}),
                     EVNF_REASON_NO_ROUTE);
}

TEST_CASE("forwarder: what does not fit the next hop's MTU is the kernel's, remembered hop or not")
{
    Ready router;
    router.ip("link set eth1 mtu 1400");
    const auto of_length = [](std::size_t length) {
        return packet(Eth{}, kToServer, Udp{}, Payload{std::string(length - 28, 'x')});
    };
    check_kernel(router, of_length(1401), EVNF_REASON_FRAGMENTATION_NEEDED);
    CHECK(router.run(of_length(1400)).action == Action::sent);
    check_kernel(router, of_length(1401), EVNF_REASON_FRAGMENTATION_NEEDED);
}

TEST_CASE("forwarder: an interface that eVNF does not serve is the kernel's")
{
    Ready router;
    router.ip("link add other type veth peer name peer-other");
    router.ip("link set other up");
    router.ip("link set peer-other up");
    router.ip("address add 10.7.0.1/24 dev other");
    router.ip("neighbour add 10.7.0.2 lladdr 02:00:00:00:07:02 dev other nud permanent");
    check_kernel(router, packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "10.7.0.2"}, Tcp{}),
                 EVNF_REASON_EGRESS_NOT_A_PORT);
}

TEST_CASE("forwarder: a remembered next hop is forgotten when routing changes")
{
    Ready router;
    const auto frame = packet(Eth{}, kToServer, Tcp{});
    CHECK(destination_mac(router.run(frame).frame) == kServerMac);
    router.ip("neighbour replace 10.3.1.2 lladdr 02:00:00:00:03:99 dev eth1 nud permanent");
    router.routing_changed();
    CHECK(destination_mac(router.run(frame).frame) == "02:00:00:00:03:99");
}

TEST_CASE("forwarder: a remembered next hop is asked for again after a while, though nobody tells")
{
    Ready router;
    const auto frame = packet(Eth{}, kToServer, Tcp{});
    CHECK(destination_mac(router.run(frame).frame) == kServerMac);
    router.ip("neighbour replace 10.3.1.2 lladdr 02:00:00:00:03:99 dev eth1 nud permanent");
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{4};
    while (destination_mac(router.run(frame).frame) == kServerMac &&
           std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
    CHECK(destination_mac(router.run(frame).frame) == "02:00:00:00:03:99");
}

TEST_CASE("forwarder: nothing is remembered where routing depends on more than the destination")
{
    Ready router;
    router.routing_changed(false);
    const auto frame = packet(Eth{}, kToServer, Tcp{});
    CHECK(destination_mac(router.run(frame).frame) == kServerMac);
    router.ip("neighbour replace 10.3.1.2 lladdr 02:00:00:00:03:99 dev eth1 nud permanent");
    CHECK(destination_mac(router.run(frame).frame) == "02:00:00:00:03:99");
}

TEST_CASE("forwarder: destinations that share a place in the cache keep their own next hops")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random{seed};
    Ready router;
    router.ip("neighbour add 10.3.1.3 lladdr 02:00:00:00:03:03 dev eth1 nud permanent");
    router.ip("route add 172.16.0.0/17 via 10.3.1.2");
    router.ip("route add 172.16.128.0/17 via 10.3.1.3");
    std::vector<unsigned> hosts(12'000);
    for (auto& host : hosts) host = static_cast<unsigned>(random()) % 65536;
    for (int round = 0; round < 2; ++round) {
        for (const unsigned host : hosts) {
            const std::string dst = "172.16." + std::to_string(host / 256) + "." + std::to_string(host % 256);
            const auto result = router.run(packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = dst}, Udp{}));
            INFO(dst);
            REQUIRE(result.action == Action::sent);
            REQUIRE(destination_mac(result.frame) == (host < 32768 ? kServerMac : "02:00:00:00:03:03"));
        }
    }
}

TEST_CASE("forwarder: frames for other stations are not routed")
{
    Ready router;
    router.set_port(0, {.mac = {2, 0, 0, 0, 0, 1}, .wire = EVNF_NO_PORT});
    CHECK(router.run(packet(Eth{.dst = "02:00:00:00:00:01"}, kToServer, Tcp{})).action == Action::sent);
    check_kernel(router, packet(Eth{.dst = "02:00:00:00:01:01"}, kToServer, Tcp{}), EVNF_REASON_OTHER_HOST);
    check_kernel(router, packet(Eth{.dst = "02:00:00:01:00:01"}, kToServer, Tcp{}), EVNF_REASON_OTHER_HOST);
}

TEST_CASE("forwarder: a wire moves frames untouched, whatever they are and whoever they are for")
{
    Router router{Router::Mode::wire};
    router.set_port(0, {.mac = {2, 0, 0, 0, 0, 1}, .wire = 1});
    const std::vector<Frame> frames{
        packet(Eth{.dst = "02:00:00:00:0a:0a"}, Ipv4{.ttl = 1}, Tcp{}),
        packet(Eth{}, Vlan{.id = 7}, Ipv4{.options = "\x94\x04"}, Udp{}),
        packet(Eth{.dst = "ff:ff:ff:ff:ff:ff", .type = 0x0806}, kData),
        packet(Eth{.dst = "01:80:c2:00:00:00", .type = 38}, kData),
        packet(Eth{}, Ipv6{.hop_limit = 255}, Icmpv6{.type = 135}, kData),
        packet(Eth{}, Ipv4{}, Udp{.sport = 67, .dport = 68}, kData),
    };
    for (const auto& frame : frames) {
        const auto result = router.run(frame);
        INFO(describe(frame));
        CHECK(result.action == Action::sent);
        CHECK(unsigned{result.packet.verdict} == EVNF_FORWARD);
        CHECK(result.frame == frame);
    }
    CHECK(router.run(packet(Eth{}, Ipv4{.ihl = 4}, Tcp{})).action == Action::dropped); // malformed stays malformed
}

TEST_CASE("forwarder: a port without a wire drops by name")
{
    Router router{Router::Mode::wire};
    router.set_port(0, {.wire = EVNF_NO_PORT});
    const auto result = router.run(packet(Eth{}, Ipv4{}, Tcp{}));
    CHECK(result.action == Action::dropped);
    CHECK(unsigned{result.packet.reason} == EVNF_REASON_NO_WIRE);
}
