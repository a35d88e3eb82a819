// SPDX-License-Identifier: MIT
/// Connection state in the firewall: what is new, established, related and invalid.
#include <boost/json.hpp>

#include <map>
#include <random>

#include "catch.hpp"
#include "chain.hpp"
#include "fw_connections.hpp"
#include "fw_shared.h"
#include "packet.hpp"

using namespace evnf::test;

namespace {

const char* const kClient = "10.1.0.2";
const char* const kServer = "10.2.0.2";

/// Rules that have the states' names ("old" for established); web, dns and ping may begin connections.
std::string configuration(const std::string& settings = "")
{
    return "ports: [{name: a, chain: [fw]}, {name: b, chain: [fw]}]\n"
           "plugins: {fw: {default: drop, " +
           settings +
           " rules: [{name: invalid, state: invalid, action: drop}, {name: old, state: established, action: allow},"
           " {name: related, state: related, action: allow}, {name: web, proto: tcp, dport: 80, state: new, action: allow},"
           " {name: dns, proto: udp, dport: 53, state: new, action: allow},"
           " {name: ping, proto: [icmp, icmpv6], icmp_type: echo-request, state: new, action: allow}]}}\n";
}

std::string decide(Chain& chain, const Frame& frame)
{
    return chain.run("a", frame).plugins.at("fw").at("rule").as_string().c_str();
}

Frame to_server(std::uint8_t flags, std::uint32_t seq = 1000, std::uint32_t ack = 1000, std::uint16_t sport = 1234)
{
    return packet(Eth{}, Ipv4{.src = kClient, .dst = kServer}, Tcp{.sport = sport, .dport = 80, .seq = seq, .ack = ack, .flags = flags});
}

Frame to_client(std::uint8_t flags, std::uint32_t seq = 1000, std::uint32_t ack = 1000, std::uint16_t dport = 1234)
{
    return packet(Eth{}, Ipv4{.src = kServer, .dst = kClient}, Tcp{.sport = 80, .dport = dport, .seq = seq, .ack = ack, .flags = flags});
}

void open(Chain& chain, std::uint16_t port = 1234)
{
    REQUIRE(decide(chain, to_server(SYN, 1000, 0, port)) == "web");
    REQUIRE(decide(chain, to_client(SYN | ACK, 1000, 1000, port)) == "old");
    REQUIRE(decide(chain, to_server(ACK, 1000, 1000, port)) == "old");
}

std::string bytes_of(const Frame& frame, std::size_t from, std::size_t count)
{
    return {reinterpret_cast<const char*>(frame.data()) + from, std::min(count, frame.size() - from)};
}

/// An error from a router on the way, which quotes the frame's IP header and `l4` bytes.
Frame error_about(const Frame& frame, const std::string& to, std::size_t l4 = 8)
{
    const bool v4 = static_cast<unsigned>(frame[14]) >> 4 == 4;
    if (v4) return packet(Eth{}, Ipv4{.src = "192.0.2.1", .dst = to}, Icmp{.type = 3, .code = 4}, Payload{bytes_of(frame, 14, 20 + l4)});
    return packet(Eth{}, Ipv6{.src = "2001:db8:9::1", .dst = to}, Icmpv6{.type = 2}, Payload{bytes_of(frame, 14, 40 + l4)});
}

/// All entries of a table go `jiffies` into the past.
void age(Chain& chain, const char* table, std::uint32_t jiffies)
{
    const auto map = chain.map("fw", table);
    std::map<std::string, std::pair<fw_connection_key, fw_connection>> entries;
    map.for_each<fw_connection_key, fw_connection>([&](const auto& key, const auto& connection) {
        entries[std::string{reinterpret_cast<const char*>(&key), sizeof key}] = {key, connection};
    });
    for (auto& [bytes, entry] : entries) {
        entry.second.last_seen -= jiffies;
        map.update(entry.first, entry.second);
    }
}

std::size_t entries(Chain& chain, const char* table)
{
    std::size_t count = 0;
    chain.map("fw", table).for_each<fw_connection_key, fw_connection>([&](const auto&, const auto&) { ++count; });
    return count;
}

constexpr std::uint32_t kHour = 3600 * 1000; ///< in jiffies, and more where HZ is less

} // namespace

TEST_CASE("fw: state: a TCP connection is new until it is answered, then established both ways")
{
    Chain chain{configuration()};
    CHECK(decide(chain, to_server(SYN)) == "web");
    CHECK(decide(chain, to_server(SYN)) == "web"); // again
    CHECK(decide(chain, to_client(SYN | ACK)) == "old");
    CHECK(decide(chain, to_server(ACK)) == "old");
    CHECK(decide(chain, to_server(ACK | PSH)) == "old");
    CHECK(decide(chain, to_client(ACK | PSH)) == "old");
    CHECK(decide(chain, to_client(ACK | PSH, 1000, 1000, 1235)) == "invalid"); // another port
}

TEST_CASE("fw: state: what is not allowed begins no connection")
{
    Chain chain{configuration()};
    const Tcp ssh{.dport = 22, .flags = SYN}, answer{.sport = 22, .dport = 1234, .flags = SYN | ACK};
    CHECK(decide(chain, packet(Eth{}, Ipv4{.src = kClient, .dst = kServer}, ssh)) == "default");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.src = kServer, .dst = kClient}, answer)) == "invalid");
    CHECK(entries(chain, "fw_half_open") == 0);
}

TEST_CASE("fw: state: a segment of no connection is invalid, unless connections may begin loosely")
{
    Chain strict{configuration()}, loose{configuration("loose: true,")};
    CHECK(decide(strict, to_server(ACK)) == "invalid");
    CHECK(decide(strict, to_server(SYN | ACK)) == "invalid");
    CHECK(decide(loose, to_server(ACK)) == "web");
    CHECK(decide(loose, to_client(ACK)) == "old");
    CHECK(decide(loose, to_server(RST)) == "old");
    CHECK(decide(loose, to_server(RST, 1, 1, 999)) == "invalid");
}

TEST_CASE("fw: state: flags that no TCP sends are invalid, also within a connection")
{
    Chain chain{configuration()};
    open(chain);
    for (const int flags : {0, SYN | FIN, SYN | RST, FIN | 0, FIN | URG | PSH, RST | FIN, PSH | 0, URG | 0})
        CHECK(decide(chain, to_server(static_cast<std::uint8_t>(flags))) == "invalid");
    CHECK(decide(chain, to_server(FIN | ACK)) == "old");
}

TEST_CASE("fw: state: a UDP answer is established, and only to who asked")
{
    Chain chain{configuration()};
    CHECK(decide(chain, packet(Eth{}, Ipv6{}, Udp{.sport = 5000, .dport = 53})) == "dns");
    const auto answer = [&](const char* from, std::uint16_t port) {
        return decide(chain, packet(Eth{}, Ipv6{.src = from, .dst = "2001:db8:1::2"}, Udp{.sport = 53, .dport = port}));
    };
    CHECK(answer("2001:db8:2::2", 5000) == "old");
    CHECK(answer("2001:db8:2::2", 5001) == "default");
    CHECK(answer("2001:db8:2::3", 5000) == "default");
}

TEST_CASE("fw: state: an echo reply goes with its request, and nothing else does")
{
    Chain chain{configuration()};
    const Ipv4 there{.src = kClient, .dst = kServer}, back{.src = kServer, .dst = kClient};
    CHECK(decide(chain, packet(Eth{}, there, Icmp{.type = 8, .rest = 0x00050001})) == "ping");
    CHECK(decide(chain, packet(Eth{}, back, Icmp{.type = 0, .rest = 0x00060001})) == "invalid");
    CHECK(decide(chain, packet(Eth{}, back, Icmp{.type = 14, .rest = 0x00050001})) == "invalid");
    CHECK(decide(chain, packet(Eth{}, there, Icmp{.type = 0, .rest = 0x00050001})) == "invalid");
    CHECK(decide(chain, packet(Eth{}, back, Icmp{.type = 8, .rest = 0x00050001})) == "ping"); // the other way, same identifier
    CHECK(decide(chain, packet(Eth{}, back, Icmp{.type = 0, .rest = 0x00050001})) == "old");
    CHECK(decide(chain, packet(Eth{}, there, Icmp{.type = 8, .rest = 0x00050002})) == "ping"); // each request is new
    CHECK(decide(chain, packet(Eth{}, Ipv6{}, Icmpv6{.type = 128, .rest = 0x00050001})) == "ping");
    CHECK(decide(chain, packet(Eth{}, Ipv6{.src = "2001:db8:2::2", .dst = "2001:db8:1::2"}, Icmpv6{.type = 129, .rest = 0x00050002})) == "old");
}

TEST_CASE("fw: state: an ICMP error is related to the connection of the packet that it quotes")
{
    Chain chain{configuration()};
    const auto stranger = packet(Eth{}, Ipv4{.src = kClient, .dst = kServer}, Tcp{.sport = 4321, .dport = 80});
    open(chain);
    CHECK(decide(chain, error_about(to_server(ACK), kClient)) == "related");
    CHECK(decide(chain, error_about(to_client(ACK), kServer)) == "related");
    CHECK(decide(chain, error_about(to_server(ACK), kServer)) == "invalid"); // not to who sent it
    CHECK(decide(chain, error_about(stranger, kClient)) == "invalid");
    CHECK(decide(chain, error_about(to_server(ACK), kClient, 4)) == "invalid"); // RFC 792 wants 8 bytes
    for (const auto& begun : {packet(Eth{}, Ipv6{}, Udp{.sport = 5000, .dport = 53}), packet(Eth{}, Ipv6{}, Icmpv6{.rest = 0x00070001})}) {
        decide(chain, begun);
        CHECK(decide(chain, error_about(begun, "2001:db8:1::2")) == "related");
    }
    const auto later = packet(Eth{}, Ipv4{.src = kClient, .dst = kServer, .fragment_offset = 4, .protocol = 6}, Payload{"0123456789"});
    CHECK(decide(chain, error_about(later, kClient)) == "invalid");
}

TEST_CASE("fw: state: a RST ends a connection when its sequence number is near what was acknowledged")
{
    Chain chain{configuration()};
    open(chain);
    CHECK(decide(chain, to_client(RST, 1000 + (1u << 30))) == "invalid");
    CHECK(decide(chain, to_server(ACK)) == "old");
    CHECK(decide(chain, to_server(SYN)) == "old"); // no new connection: the old one lives
    CHECK(decide(chain, to_client(RST, 1000)) == "old");
    CHECK(decide(chain, to_server(SYN)) == "web");
    CHECK(entries(chain, "fw_connections") == 0);
}

TEST_CASE("fw: state: the ICMP of the other family is related to nothing")
{
    Chain chain{configuration()};
    open(chain);
    const auto quote = bytes_of(to_server(ACK), 14, 28);
    CHECK(decide(chain, packet(Eth{}, Ipv4{.src = "192.0.2.1", .dst = kClient}, Icmpv6{.type = 1}, Payload{quote})) == "invalid");
    CHECK(decide(chain, packet(Eth{}, Ipv4{.src = "192.0.2.1", .dst = kClient}, Icmp{.type = 3}, Payload{quote})) == "related");
}

TEST_CASE("fw: state: any RST is credible to who has acknowledged nothing yet")
{
    constexpr std::uint32_t far = 3'000'000'000;
    Chain chain{configuration()};
    CHECK(decide(chain, to_server(SYN)) == "web");
    CHECK(decide(chain, to_client(RST, far)) == "old");
    CHECK(decide(chain, to_server(RST, far)) == "old");
}

TEST_CASE("fw: state: a RST is an answer to the segment that a loose connection began with")
{
    constexpr std::uint32_t expected = 3'000'000'000;
    Chain chain{configuration("loose: true,")};
    CHECK(decide(chain, to_server(ACK, 1000, expected)) == "web");
    CHECK(decide(chain, to_client(RST, 0)) == "invalid");
    CHECK(decide(chain, to_client(RST, expected)) == "old");
}

TEST_CASE("fw: state: a SYN on a connection that has closed begins a new one")
{
    Chain chain{configuration()};
    open(chain);
    CHECK(decide(chain, to_client(FIN | ACK)) == "old");
    CHECK(decide(chain, to_server(FIN | ACK)) == "old");
    CHECK(decide(chain, to_client(ACK)) == "old");
    open(chain);
}

TEST_CASE("fw: state: a flood of new connections leaves established ones alone")
{
    Chain chain{configuration("max_half_open: 100,")};
    open(chain);
    for (std::uint16_t port = 2000; port < 7000; ++port) {
        REQUIRE(decide(chain, to_server(SYN, 1, 0, port)) == "web");
        REQUIRE(decide(chain, to_client(SYN | ACK, 1, 1, port)) == "old"); // even where they are answered
    }
    CHECK(entries(chain, "fw_half_open") <= 256); // the kernel rounds up for its CPUs
    CHECK(entries(chain, "fw_connections") == 1);
    CHECK(decide(chain, to_client(ACK)) == "old");
    open(chain, 1500); // and newcomers get through
}

TEST_CASE("fw: state: where there is no room for a connection it goes on as half open, and is counted")
{
    Chain chain{configuration("max_connections: 1,")};
    open(chain, 1);
    open(chain, 2);
    CHECK(decide(chain, to_client(ACK, 1000, 1000, 1)) == "old");
    CHECK(decide(chain, to_client(ACK, 1000, 1000, 2)) == "old");
    const auto counted = chain.query("fw", "tracking");
    CHECK(counted.at("opened").to_number<int>() == 2);
    CHECK(counted.at("moved").to_number<int>() == 1);
    CHECK(counted.at("refused").to_number<int>() == 1);
    CHECK(counted.at("max_connections").to_number<int>() == 1);
}

TEST_CASE("fw: state: a connection is forgotten when its time is over")
{
    Chain chain{configuration("timeouts: {established: 1h},")};
    open(chain);
    decide(chain, packet(Eth{}, Ipv6{}, Udp{.sport = 5000, .dport = 53}));
    age(chain, "fw_connections", 1000 * 60 * 2 / 10); // two minutes where HZ is 100, and less elsewhere
    CHECK(decide(chain, to_server(ACK)) == "old");
    age(chain, "fw_connections", kHour);
    age(chain, "fw_half_open", kHour);
    CHECK(decide(chain, to_server(ACK)) == "invalid");
    CHECK(decide(chain, packet(Eth{}, Ipv6{.src = "2001:db8:2::2", .dst = "2001:db8:1::2"}, Udp{.sport = 53, .dport = 5000})) == "default");
    CHECK(chain.query("fw", "connections").as_array().empty());
    open(chain);
    CHECK(entries(chain, "fw_connections") == 1);
}

TEST_CASE("fw: state: connections are listed with who began them")
{
    Chain chain{configuration()};
    open(chain);
    decide(chain, packet(Eth{}, Ipv6{}, Udp{.sport = 5000, .dport = 53}));
    const auto rows = chain.query("fw", "connections").as_array();
    REQUIRE(rows.size() == 2);
    CHECK(rows[0].at("proto") == "tcp");
    CHECK(rows[0].at("src") == kClient);
    CHECK(rows[0].at("sport") == 1234);
    CHECK(rows[0].at("dst") == kServer);
    CHECK(rows[0].at("dport") == 80);
    CHECK(rows[0].at("state") == "established");
    CHECK(rows[1].at("proto") == "udp");
    CHECK(rows[1].at("state") == "unanswered");
    CHECK(chain.query("fw", "connections", {"udp"}).as_array().size() == 1);
    CHECK(chain.query("fw", "connections", {"established", kClient}).as_array().size() == 1);
    CHECK(chain.query("fw", "connections", {"udp", kClient}).as_array().empty());
}

TEST_CASE("fw: state: connections live through a reload")
{
    Chain chain{configuration()};
    open(chain);
    chain.reload(configuration("max_connections: 5000,"));
    CHECK(decide(chain, to_client(ACK)) == "old");
}

TEST_CASE("fw: state: later fragments follow their first, and are invalid without it")
{
    Chain chain{configuration()};
    const Payload text{std::string(64, 'x')};
    const auto first = packet(Eth{}, Ipv4{.src = kClient, .dst = kServer, .id = 7, .more_fragments = true}, Udp{.dport = 53}, text);
    const auto later = [&](std::uint16_t id) {
        return packet(Eth{}, Ipv4{.src = kClient, .dst = kServer, .id = id, .fragment_offset = 9, .protocol = 17}, text);
    };
    CHECK(decide(chain, later(7)) == "invalid");
    CHECK(decide(chain, first) == "dns");
    CHECK(decide(chain, later(7)) == "dns");
    CHECK(decide(chain, later(8)) == "invalid");
    const Ipv6 back{.src = "2001:db8:2::2", .dst = "2001:db8:1::2"};
    CHECK(decide(chain, packet(Eth{}, Ipv6{}, Udp{.sport = 5000, .dport = 53})) == "dns");
    CHECK(decide(chain, packet(Eth{}, back, Fragment{.more = true, .id = 9}, Udp{.sport = 53, .dport = 5000}, text)) == "old");
    CHECK(decide(chain, packet(Eth{}, back, Fragment{.offset = 9, .id = 9, .next = 17}, text)) == "old");
    CHECK(decide(chain, packet(Eth{}, back, Fragment{.offset = 9, .id = 10, .next = 17}, text)) == "invalid");
}

TEST_CASE("fw: state: the tag of a VLAN does not tell connections apart")
{
    Chain chain{configuration()};
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 5}, Ipv4{}, Udp{.sport = 5000, .dport = 53})) == "dns");
    CHECK(decide(chain, packet(Eth{}, Vlan{.id = 6}, Ipv4{.src = kServer, .dst = kClient}, Udp{.sport = 53, .dport = 5000})) == "old");
}

namespace {

/// As configuration() has them.
std::vector<FwModelRule> rules_of_states()
{
    return {
        {.name = "invalid", .action = "drop", .states = {"invalid"}},
        {.name = "old", .action = "allow", .states = {"established"}},
        {.name = "related", .action = "allow", .states = {"related"}},
        {.name = "web", .action = "allow", .dport = {{80, 80}}, .protocols = {kTcp}, .states = {"new"}},
        {.name = "dns", .action = "allow", .dport = {{53, 53}}, .protocols = {kUdp}, .states = {"new"}},
        {.name = "ping", .action = "allow", .protocols = {kIcmp, kIcmpv6}, .icmp_types = {{8, {}}, {128, {}}}, .states = {"new"}},
    };
}

struct Packet {
    int proto, from, to, sport, dport; ///< of ICMP: identifier at the asking end, 8 at the other
    unsigned flags;                    ///< TCP
    bool begins;                       ///< ICMP: a request
    bool far;                          ///< TCP: its sequence number is nowhere near
};

Packet random_packet(std::mt19937& random)
{
    static const std::vector<unsigned> flags{SYN, SYN, SYN | ACK, ACK, ACK, ACK | PSH, ACK | FIN, RST, RST | ACK, 0, SYN | FIN};
    Packet packet{};
    packet.proto = std::vector{6, 6, 6, 17, 1}[random() % 5];
    packet.from = static_cast<int>(random() % 3);
    packet.to = (packet.from + 1 + static_cast<int>(random() % 2)) % 3;
    const int client = 1000 + static_cast<int>(random() % 3), server = random() % 8 ? (packet.proto == 6 ? 80 : 53) : 22;
    const bool forth = random() % 2;
    if (packet.proto == 1) {
        packet.begins = forth;
        packet.sport = forth ? client : 8;
        packet.dport = forth ? 8 : client;
        return packet;
    }
    packet.sport = forth ? client : server;
    packet.dport = forth ? server : client;
    if (packet.proto == 6) packet.flags = flags[random() % flags.size()];
    packet.far = random() % 2;
    return packet;
}

Frame frame_of(const Packet& packet, bool v6)
{
    const auto address = [&](int host) { return (v6 ? "2001:db8::" : "10.0.0.") + std::to_string(host + 1); };
    const auto port = [](int number) { return static_cast<std::uint16_t>(number); };
    Layer ip = v6 ? Layer{Ipv6{.src = address(packet.from), .dst = address(packet.to)}} : Layer{Ipv4{.src = address(packet.from), .dst = address(packet.to)}};
    const auto id = static_cast<std::uint32_t>(packet.begins ? packet.sport : packet.dport) << 16;
    Layer l4 = Udp{.sport = port(packet.sport), .dport = port(packet.dport)};
    if (packet.proto == 6)
        l4 = Tcp{.sport = port(packet.sport), .dport = port(packet.dport), .seq = packet.flags & RST && packet.far ? 1u << 30 : 1000u, .ack = 1000, .flags = static_cast<std::uint8_t>(packet.flags)};
    else if (packet.proto == 1 && v6)
        l4 = Icmpv6{.type = static_cast<std::uint8_t>(packet.begins ? 128 : 129), .rest = id};
    else if (packet.proto == 1)
        l4 = Icmp{.type = static_cast<std::uint8_t>(packet.begins ? 8 : 0), .rest = id};
    return build({Eth{}, ip, l4});
}

} // namespace

TEST_CASE("fw: state: random packets between three hosts are what a plain model says")
{
    const auto seed = std::random_device{}();
    std::mt19937 random{seed};
    const auto rules = rules_of_states();
    for (const bool v6 : {false, true})
        for (int world = 0; world < 20; ++world) {
            Chain chain{"ports: [{name: a, chain: [fw]}]\nplugins: {fw: " + fw_settings(rules, "drop", "max_half_open: 1000") + "}\n"};
            FwStateful model{rules};
            for (int i = 0; i < 1000; ++i) {
                const auto packet = random_packet(random);
                const auto frame = frame_of(packet, v6);
                const auto* wanted = model.decide(frame, "a").rule;
                INFO("seed " << seed << " world " << world << " packet " << i << " " << describe(frame) << (packet.far ? " far" : ""));
                REQUIRE(decide(chain, frame) == (wanted ? wanted->name : "default"));
            }
        }
}
