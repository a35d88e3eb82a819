// SPDX-License-Identifier: MIT
/// What the tests of the load balancer share: services, packets to and from them, what became of them.
#pragma once

#include <arpa/inet.h>

#include <random>
#include <string>

#include "../../plugins/lb/lb_shared.h"
#include "catch.hpp"
#include "chain.hpp"
#include "packet.hpp"

namespace evnf::test::lb {

/// The service "web" at 10.2.0.2:80 with these backends, and more keys of the plugin.
inline std::string config(const std::string& backends, const std::string& service = "",
                          const std::string& plugin = "")
{
    return "ports: [{name: in, chain: [lb]}, {name: out, chain: [lb]}]\n"
           "plugins:\n"
           "  lb:\n"
           "    services:\n"
           "      - {name: web, vip: 10.2.0.2, port: 80, proto: tcp" +
           service + ", backends: [" + backends +
           "]}\n"
           "      - {name: dns, vip: 10.2.0.2, port: 53, proto: udp, backends: [{name: d1, address: "
           "10.3.1.2, port: 5353}]}\n"
           "      - {name: web6, vip: \"2001:db8:2::2\", port: 80, proto: tcp, backends: "
           "[{name: s6, address: \"2001:db8:3:1:ffff:7:8:9\", port: 8080}]}\n"
           "      - {name: dns6, vip: \"2001:db8:2::2\", port: 53, proto: udp, backends: "
           "[{name: d6, address: \"2001:db8:3::1\", port: 53}]}\n" +
           plugin;
}

inline const std::string s1 = "{name: s1, address: 10.3.1.2, port: 8080}";
inline const std::string s2 = "{name: s2, address: 10.3.2.2, port: 80}";
inline const std::string s1_drained = "{name: s1, address: 10.3.1.2, port: 8080, state: drain}";
inline const std::string s1_down = "{name: s1, address: 10.3.1.2, port: 8080, state: down}";

inline Frame to_vip(std::uint16_t sport, std::uint8_t flags, const std::string& text = "")
{
    return packet(Eth{}, Ipv4{.src = "10.1.0.2", .dst = "10.2.0.2"},
                  Tcp{.sport = sport, .dport = 80, .flags = flags}, Payload{text});
}

inline Frame from_s1(std::uint16_t dport, std::uint8_t flags, const std::string& text = "")
{
    return packet(Eth{}, Ipv4{.src = "10.3.1.2", .dst = "10.1.0.2"},
                  Tcp{.sport = 8080, .dport = dport, .flags = flags}, Payload{text});
}

inline std::string dropped(const Result& result)
{
    return result.verdict == EVNF_DROP ? result.reason : "not dropped";
}

inline bool forwarded_as(const Result& result, const Frame& frame)
{
    INFO(describe(result.frame));
    CHECK(result.frame == frame);
    return result.verdict == EVNF_FORWARD && result.frame == frame;
}

/// Where the packet goes on to: "10.3.1.2 8080".
inline std::string destination(const Result& result)
{
    if (result.verdict != EVNF_FORWARD) return dropped(result);
    return Address::from(result.packet.dst).text() + " " + std::to_string(ntohs(result.packet.dport));
}

/// Connections that are known, half-open ones too.
inline std::size_t connections(Chain& chain)
{
    return chain.query("lb", "connections").as_array().size();
}

/// What `lb tracking` counts under that name.
inline int tracked(Chain& chain, const char* counter)
{
    return chain.query("lb", "tracking").at(counter).to_number<int>();
}

/// Connections that keep their places: both sides have spoken.
inline int kept(Chain& chain)
{
    return tracked(chain, "connections");
}

/// State of the connection from this client's port; "none" where there is none.
inline std::string state(Chain& chain, std::uint16_t port)
{
    const auto rows = chain.query("lb", "connections");
    for (const auto& row : rows.as_array())
        if (row.at("client_port").to_number<int>() == port) return std::string{row.at("state").as_string()};
    return "none";
}

inline boost::json::object backend(Chain& chain, std::string_view name)
{
    const auto rows = chain.query("lb", "backends");
    for (const auto& row : rows.as_array())
        if (row.at("name").as_string() == name) return row.as_object();
    return {};
}

/// SYN, SYN-ACK, ACK through s1.
inline void open_at_s1(Chain& chain, std::uint16_t port)
{
    REQUIRE(destination(chain.run("in", to_vip(port, SYN))) == "10.3.1.2 8080");
    REQUIRE(chain.run("out", from_s1(port, SYN | ACK)).verdict == EVNF_FORWARD);
    REQUIRE(chain.run("in", to_vip(port, ACK)).verdict == EVNF_FORWARD);
    REQUIRE(state(chain, port) == "established");
}

/// Both FINs.
inline void close_at_s1(Chain& chain, std::uint16_t port)
{
    REQUIRE(chain.run("in", to_vip(port, FIN | ACK)).verdict == EVNF_FORWARD);
    REQUIRE(chain.run("out", from_s1(port, FIN | ACK)).verdict == EVNF_FORWARD);
    REQUIRE(state(chain, port) == "closed");
}

inline std::string random_address(std::mt19937& random, bool six)
{
    if (!six)
        return std::to_string(1 + random() % 223) + "." + std::to_string(random() % 256) + "." +
               std::to_string(random() % 256) + "." + std::to_string(random() % 256);
    std::string text = "2001";
    for (int group = 1; group < 8; ++group) {
        char hex[8];
        std::snprintf(hex, sizeof hex, ":%x",
                      static_cast<unsigned>(random() % 3 ? random() % 0x10000 : random() % 2));
        text += hex;
    }
    return text;
}

} // namespace evnf::test::lb
