// SPDX-License-Identifier: MIT
/// Connections that another balancer had: what their servers send is taken up where `adopt` says so.
#include "lb_lab.hpp"

using namespace evnf::test;
using namespace evnf::test::lb;

namespace {

const std::string kAdopt = ", adopt: true";
const std::string kBoth = s1 + "," + s2;

Frame as_from_vip(std::uint16_t dport, std::uint8_t flags)
{
    return packet(Eth{}, Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2"}, Tcp{.sport = 80, .dport = dport, .flags = flags}, Payload{""});
}

/// A client's port whose slot s1 owns, or s2: a reset of no connection goes there and leaves no entry.
std::uint16_t port_of(Chain& chain, const std::string& server)
{
    for (std::uint16_t port = 4000; port < 4100; ++port)
        if (destination(chain.run("in", to_vip(port, RST))) == server) return port;
    FAIL("no client of 100 has a slot of " << server);
    return 0;
}

} // namespace

TEST_CASE("lb: adopt: what a server sends to a client of its slots is a reply, though nobody asked here")
{
    Chain chain{config(kBoth, kAdopt)};
    const auto port = port_of(chain, "10.3.1.2 8080");
    CHECK(forwarded_as(chain.run("out", from_s1(port, ACK)), as_from_vip(port, ACK)));
    CHECK(state(chain, port) == "syn");
    CHECK(destination(chain.run("in", to_vip(port, ACK))) == "10.3.1.2 8080");
    CHECK(state(chain, port) == "established");
}

TEST_CASE("lb: adopt: what is no reply of a connection under way stays as it is and leaves no entry")
{
    Chain chain{config(kBoth, kAdopt)};
    const auto of_s1 = port_of(chain, "10.3.1.2 8080"), of_s2 = port_of(chain, "10.3.2.2 80");
    const Frame strangers[] = {
        from_s1(of_s2, ACK), // the client's slot is another server's
        from_s1(of_s1, SYN | ACK),
        from_s1(of_s1, RST),
        packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.2"}, Tcp{.sport = 80, .dport = of_s1, .flags = ACK}),
        packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.2"}, Udp{.sport = 8080, .dport = of_s1}),
    };
    for (const auto& frame : strangers) CHECK(forwarded_as(chain.run("out", frame), frame));
    CHECK(chain.query("lb", "connections").as_array().empty());
}

TEST_CASE("lb: adopt: a connection that is known to be another server's is not given away")
{
    Chain chain{config(s2, kAdopt)};
    chain.run("in", to_vip(4000, SYN));
    chain.reload(config(s1, kAdopt));
    CHECK(forwarded_as(chain.run("out", from_s1(4000, ACK)), from_s1(4000, ACK)));
    CHECK(destination(chain.run("in", to_vip(4000, ACK))) == "10.3.2.2 80");
}

TEST_CASE("lb: without adopt, a server's packets of no connection are left alone")
{
    Chain chain{config(s1)};
    CHECK(forwarded_as(chain.run("out", from_s1(4000, ACK)), from_s1(4000, ACK)));
    CHECK(chain.query("lb", "connections").as_array().empty());
}

TEST_CASE("lb: adopt: over IPv6, and UDP")
{
    Chain chain{"ports: [{name: out, chain: [lb]}]\nplugins:\n  lb:\n    services:\n"
                "      - {name: dns6, vip: \"2001:db8:2::2\", port: 53, proto: udp, adopt: true,"
                " backends: [{name: d6, address: \"2001:db8:3::1\", port: 5353}]}\n"};
    const auto reply = packet(Eth{}, Ipv6{.src = "2001:db8:3::1", .dst = "2001:db8:1::2"}, Udp{.sport = 5353, .dport = 4000});
    const auto translated = packet(Eth{}, Ipv6{.src = "2001:db8:2::2", .dst = "2001:db8:1::2"}, Udp{.sport = 53, .dport = 4000});
    CHECK(forwarded_as(chain.run("out", reply), translated));
}
