// SPDX-License-Identifier: MIT
/// The evasion matrix: under a default of drop and one rule about TCP to port 80, nothing gets through but TCP to port
/// 80 with its whole header, whatever it is wrapped in, and whatever else is made to look like it.
#include <algorithm>
#include <boost/json.hpp>

#include "catch.hpp"
#include "chain.hpp"
#include "packet.hpp"
#include "reference_parser.hpp"

using namespace evnf::test;

namespace {

const std::string kWebOnly = R"(
ports: [{name: a, chain: [fw]}]
plugins: {fw: {default: drop, rules: [{name: web, proto: tcp, dport: 80, action: allow}]}}
)";

using Layers = std::vector<Layer>;

/// Bytes that, read from any multiple of 4 on, are a TCP header to port 80 with a data offset of 5. All that is no
/// header is made of them: who looks for the header in the wrong place finds one that the rule allows.
std::string bait(std::size_t words)
{
    std::string bytes;
    while (bytes.size() < words * 4) bytes += std::string{"\x50\x02\x00\x50", 4};
    return bytes;
}

struct Tags {
    std::string name;
    Layers layers;
};

enum class Fate {
    parsed,  ///< up to the L4 header, which decides
    later,   ///< a later fragment has no L4 header
    opaque,  ///< what it carries is some other protocol than the innermost one
    refused, ///< dropped by the parser
};

struct Network {
    std::string name;
    Layers layers;
    Fate fate = Fate::parsed;
};

struct Transport {
    std::string name;
    std::uint8_t protocol;
    Layers layers;
    std::size_t header; ///< its length
    bool is_web = false;
};

/// Places in a frame, in their order.
enum class Place { in_ip_header, before_l4, behind_ports, before_l4_end, l4_end, end };

struct Cut {
    std::string name;
    Place packet; ///< where the packet ends, by the lengths in its IP header
    Place frame;  ///< where the frame ends

    bool is_whole() const { return packet >= Place::l4_end && frame >= packet; }
};

const std::vector<Tags> kTags{
    {"untagged", {Eth{}}},
    {"802.1Q", {Eth{}, Vlan{.id = 7}}},
    {"QinQ", {Eth{}, Vlan{.id = 7, .tpid = 0x88a8}, Vlan{.id = 8}}},
    {"VID 0", {Eth{}, Vlan{.id = 0}}},
};

/// Extension headers with the bait at a multiple of 4.
HopByHop hop_by_hop()
{
    return {.options = std::string(2, '\0') + bait(5)};
}

DestOpts destination(std::size_t words = 5)
{
    return {.options = std::string(2, '\0') + bait(words)};
}

Routing routing(std::uint8_t type, std::uint8_t segments_left)
{
    return {.type = type, .segments_left = segments_left, .data = bait(5)};
}

AuthHeader auth(std::size_t words = 3)
{
    return {.icv = bait(words)};
}

Layers after_ipv6(std::size_t count, const Layer& header)
{
    Layers layers(count + 1, header);
    layers.front() = Ipv6{};
    return layers;
}

std::vector<Network> ipv4_networks()
{
    const std::string one = bait(1), ten = bait(10);
    return {
        {"IPv4", {Ipv4{}}},
        {"IPv4 with ihl 6", {Ipv4{.options = one}}},
        {"IPv4 with ihl 15", {Ipv4{.options = ten}}},
        {"IPv4 with the reserved flag", {Ipv4{.fragment_offset = 0x8000}}},
        {"IPv4 first fragment", {Ipv4{.more_fragments = true}}},
        {"IPv4 first fragment with ihl 15", {Ipv4{.more_fragments = true, .options = ten}}},
        {"IPv4 later fragment", {Ipv4{.fragment_offset = 3}}, Fate::later},
        {"IPv4 middle fragment", {Ipv4{.more_fragments = true, .fragment_offset = 3}}, Fate::later},
        {"IPv4 later fragment with ihl 15", {Ipv4{.fragment_offset = 3, .options = ten}}, Fate::later},
        {"IPv4 fragment at 8 bytes", {Ipv4{.fragment_offset = 1}}, Fate::later},
        {"IPv4 fragment with 'do not'", {Ipv4{.dont_fragment = true, .fragment_offset = 3}}, Fate::later},
        {"IPv4, AH", {Ipv4{}, auth()}, Fate::opaque},
        {"IPv4, destination options", {Ipv4{}, destination()}, Fate::opaque},
        {"IPv4 in IPv4", {Ipv4{}, Ipv4{}}, Fate::opaque},
        {"IPv6 in IPv4", {Ipv4{}, Ipv6{}}, Fate::opaque},
    };
}

std::vector<Network> ipv6_networks()
{
    const Fragment first{.more = true}, later{.offset = 3}, reserved{.reserved = 3};
    const auto reserved_bits = Raw{{0, 0, 0, 6, 0, 0, 0, 1}};
    return {
        {"IPv6", {Ipv6{}}},
        {"IPv6, hop-by-hop", {Ipv6{}, hop_by_hop()}},
        {"IPv6, destination options", {Ipv6{}, destination()}},
        {"IPv6, routing", {Ipv6{}, routing(2, 0)}},
        {"IPv6, routing with a segment left", {Ipv6{}, routing(2, 1)}},
        {"IPv6, segment routing", {Ipv6{}, routing(4, 0)}},
        {"IPv6, routing of type 0", {Ipv6{}, routing(0, 0)}, Fate::refused},
        {"IPv6, routing of type 0 with a segment left", {Ipv6{}, routing(0, 1)}, Fate::refused},
        {"IPv6, AH", {Ipv6{}, auth()}},
        {"IPv6, AH of 12 bytes", {Ipv6{}, auth(0)}},
        {"IPv6, AH of 36 bytes", {Ipv6{}, auth(6)}},
        {"IPv6 first fragment", {Ipv6{}, first}},
        {"IPv6 later fragment", {Ipv6{}, later}, Fate::later},
        {"IPv6 middle fragment", {Ipv6{}, Fragment{.offset = 3, .more = true}}, Fate::later},
        {"IPv6 fragment at 8 bytes", {Ipv6{}, Fragment{.offset = 1}}, Fate::later},
        {"IPv6, fragment header of a whole packet", {Ipv6{}, Fragment{}}},
        {"IPv6, fragment header with its reserved byte", {Ipv6{}, reserved}},
        {"IPv6, fragment header with its reserved bits", {Ipv6{.next = 44}, reserved_bits}},
        {"IPv6 later fragment with its reserved byte", {Ipv6{}, Fragment{.offset = 3, .reserved = 3}}, Fate::later},
        {"IPv6, hop-by-hop, first fragment", {Ipv6{}, hop_by_hop(), first}},
        {"IPv6 first fragment, destination options", {Ipv6{}, first, destination()}},
        {"IPv6, destination options, later fragment", {Ipv6{}, destination(), later}, Fate::later},
        {"IPv6 first fragment in a fragment", {Ipv6{}, first, Fragment{}}},
        {"IPv6 later fragment in a first one", {Ipv6{}, first, later}, Fate::later},
        {"IPv6 first fragment in a later one", {Ipv6{}, later, first}, Fate::later},
        {"IPv6, destination options, hop-by-hop", {Ipv6{}, destination(), hop_by_hop()}},
        {"IPv6, one of each", {Ipv6{}, hop_by_hop(), destination(), routing(2, 0), reserved, auth(), destination()}},
        {"IPv6, routing of type 0 behind others", {Ipv6{}, hop_by_hop(), first, routing(0, 0)}, Fate::refused},
        {"IPv6, 7 headers", after_ipv6(7, destination())},
        {"IPv6, 8 headers", after_ipv6(8, auth())},
        {"IPv6, 9 headers", after_ipv6(9, destination()), Fate::refused},
        {"IPv6, 9 fragment headers", after_ipv6(9, Fragment{}), Fate::refused},
        {"IPv6, 16 headers", after_ipv6(16, hop_by_hop()), Fate::refused},
        {"IPv6, 3 long headers", after_ipv6(3, destination(119)), Fate::refused},
        {"IPv4 in IPv6", {Ipv6{}, Ipv4{}}, Fate::opaque},
        {"IPv6 in IPv6", {Ipv6{}, Ipv6{}}, Fate::opaque},
    };
}

/// How many of the above are Fate::parsed.
constexpr unsigned kParsed = 6 + 20;

std::vector<Network> networks()
{
    auto all = ipv4_networks();
    for (auto& network : ipv6_networks()) all.push_back(std::move(network));
    return all;
}

const Payload kBait{bait(41)};

/// All but the second would be allowed if they were TCP.
const std::vector<Transport> kTransports{
    {"TCP to 80", 6, {Tcp{.dport = 80}, kBait}, 20, true},
    {"TCP to 81", 6, {Tcp{.dport = 81}, kBait}, 20},
    {"UDP to 80", 17, {Udp{.dport = 80}, kBait}, 8},
    {"ICMP", 1, {Icmp{.checksum = 80}, kBait}, 8},
    {"ICMPv6", 58, {Icmpv6{.checksum = 80}, kBait}, 8},
    {"GRE", 47, {kBait}, 8},
    {"ESP", 50, {kBait}, 8},
    {"SCTP to 80", 132, {Sctp{.dport = 80}, kBait}, 12},
};

/// Headers of TCP that are all about port 80, or nearly.
const std::vector<Transport> kTcp{
    {"TCP to 80", 6, {Tcp{.dport = 80}, kBait}, 20, true},
    {"TCP to 80 with options", 6, {Tcp{.dport = 80, .options = bait(10)}, kBait}, 60, true},
    {"TCP to 80 with data offset 4", 6, {Tcp{.dport = 80, .data_offset = 4}, kBait}, 20},
    {"TCP to 80 with data offset 0", 6, {Tcp{.dport = 80, .data_offset = 0}, kBait}, 20},
    {"TCP from 80", 6, {Tcp{.sport = 80, .dport = 81}, kBait}, 20},
};

void announce(Layer& last, std::uint8_t protocol)
{
    std::visit(
        [&](auto& header) {
            if constexpr (requires { header.protocol; })
                header.protocol = protocol;
            else if constexpr (requires { header.next; })
                header.next = protocol;
            else if constexpr (requires { header.bytes; })
                header.bytes.front() = protocol;
        },
        last);
}

/// The outer IP header says that its packet ends at `end`.
void end_at(Layers& layers, std::size_t l3_offset, std::size_t end)
{
    for (auto& layer : layers) {
        if (auto* ipv4 = std::get_if<Ipv4>(&layer)) {
            ipv4->total_length = static_cast<std::uint16_t>(end - l3_offset);
            return;
        }
        if (auto* ipv6 = std::get_if<Ipv6>(&layer)) {
            ipv6->payload_length = static_cast<std::uint16_t>(std::max(end, l3_offset + 40) - l3_offset - 40);
            return;
        }
    }
}

Frame frame_of(const Tags& tags, const Network& network, const Transport& transport, const Cut& cut)
{
    auto layers = tags.layers;
    const auto append = [&](const Layers& more) {
        layers.insert(layers.end(), more.begin(), more.end());
        return build(layers).size();
    };
    const auto l3 = build(layers).size(), l4 = append(network.layers);
    announce(layers.back(), transport.protocol);
    const auto end = append(transport.layers);
    const auto offset = [&](Place place) {
        switch (place) {
            case Place::in_ip_header:
                return l3 + 12;
            case Place::before_l4:
                return l4 - 1;
            case Place::behind_ports:
                return l4 + 4;
            case Place::before_l4_end:
                return l4 + transport.header - 1;
            case Place::l4_end:
                return l4 + transport.header;
            case Place::end:
                break;
        }
        return end;
    };
    end_at(layers, l3, offset(cut.packet));
    auto frame = build(layers);
    frame.resize(offset(cut.frame));
    return frame;
}

/// What went through the chain, and how much of it the rule allowed.
struct Tally {
    unsigned cases = 0, allowed = 0, impossible = 0;
};

/// Runs the frame and compares fw's decision with `expected`, as the reference parser must too. Whether it was allowed.
bool check_allowed(Chain& chain, Tally& tally, const Frame& frame, bool expected)
{
    if (!chain.can_run("a", frame)) return ++tally.impossible, false;
    const auto parsed = reference_parse(frame);
    const auto result = chain.run("a", frame);
    const auto* fw = result.plugins.if_contains("fw");
    const std::string rule = fw ? fw->at("rule").as_string().c_str() : "never asked";
    const bool well_formed = parsed.problem.empty(), allowed = rule == "web";
    INFO(describe(frame) << ": " << rule << ", " << result.reason << " by " << result.stage << "; reference: "
                         << (well_formed ? "well formed" : parsed.problem));
    CHECK((well_formed && parsed.protocol == 6 && parsed.dport == 80 && !parsed.later_fragment) == expected);
    CHECK(rule == (expected ? "web" : well_formed ? "default" : "never asked"));
    // What is not allowed is not left to the kernel either: none of this is ARP, ND or DHCP.
    CHECK((result.verdict == EVNF_DROP) == !expected);
    CHECK(result.stage == (expected ? "forwarder" : well_formed ? "fw" : "entry"));
    ++tally.cases;
    tally.allowed += allowed;
    return allowed;
}

void check_case(Chain& chain, Tally& tally, const Tags& tags, const Network& network, const Transport& transport,
                const Cut& cut)
{
    INFO(tags.name << ", " << network.name << ", " << transport.name << ", " << cut.name);
    const bool expected = transport.is_web && network.fate == Fate::parsed && cut.is_whole();
    const bool allowed = check_allowed(chain, tally, frame_of(tags, network, transport, cut), expected);
    if (transport.protocol != 6) CHECK_FALSE(allowed);
    if (network.fate == Fate::later) CHECK_FALSE(allowed);
    if (!cut.is_whole()) CHECK_FALSE(allowed);
}

std::uint64_t counted_as_web(Chain& chain)
{
    return chain.query("fw", "rules").at(0).at("packets").to_number<std::uint64_t>();
}

} // namespace

TEST_CASE("fw: only TCP to the allowed port gets through, whatever it is wrapped in")
{
    const std::vector<Cut> cuts{
        {"whole", Place::end, Place::end},
        {"truncated in L3", Place::end, Place::before_l4},
        {"truncated in L4", Place::end, Place::behind_ports},
        {"ending in L4 before its frame does", Place::behind_ports, Place::end},
    };
    Chain chain{kWebOnly};
    Tally tally;
    for (const auto& tags : kTags)
        for (const auto& network : networks())
            for (const auto& transport : kTransports)
                for (const auto& cut : cuts) check_case(chain, tally, tags, network, transport, cut);
    CHECK(tally.allowed == 4 * kParsed);
    CHECK(tally.cases + tally.impossible == 4 * (15 + 36) * 8 * 4);
    // 7 of IPv4 and 1 of IPv6 end with a fixed header, within which the kernel's test run at tc takes no cut.
    CHECK(tally.impossible == (at_tc ? (7 + 1) * 8 : 0));
    CHECK(counted_as_web(chain) == tally.allowed);
}

TEST_CASE("fw: only a TCP header that is within its packet gets through, wherever packet and frame end")
{
    const std::vector<Cut> cuts{
        {"cut in the IP header", Place::end, Place::in_ip_header},
        {"ending in L3 before its frame does", Place::before_l4, Place::end},
        {"ending in L3", Place::before_l4, Place::before_l4},
        {"ending behind the ports", Place::behind_ports, Place::behind_ports},
        {"ending a byte too early", Place::before_l4_end, Place::before_l4_end},
        {"ending a byte too early, before its frame does", Place::before_l4_end, Place::end},
        {"cut a byte too early", Place::end, Place::before_l4_end},
        {"with nothing but the header", Place::l4_end, Place::l4_end},
        {"with padding", Place::l4_end, Place::end},
    };
    Chain chain{kWebOnly};
    Tally tally;
    for (const auto& tags : {kTags[0], kTags[2]})
        for (const auto& network : networks())
            for (const auto& transport : kTcp)
                for (const auto& cut : cuts) check_case(chain, tally, tags, network, transport, cut);
    CHECK(tally.allowed == 2 * kParsed * 2 * 2);
    CHECK(tally.cases + tally.impossible == 2 * (15 + 36) * 5 * 9);
    CHECK(counted_as_web(chain) == tally.allowed);
}

TEST_CASE("fw: it is their protocol alone that keeps the disguised out of the matrix' result")
{
    Chain chain{kWebOnly};
    Tally tally;
    for (const auto& network : {Network{"IPv4", {Ipv4{}}}, Network{"IPv6", {Ipv6{}}}})
        for (auto transport : kTransports) {
            INFO(network.name << ", " << transport.name << " by the name of TCP");
            transport.protocol = 6;
            const auto frame = frame_of(kTags[0], network, transport, {"whole", Place::end, Place::end});
            check_allowed(chain, tally, frame, transport.name != "TCP to 81");
        }
    CHECK(tally.allowed == 2 * 7);
}

TEST_CASE("fw: payload of a later fragment is no TCP header, wherever the fragment stands")
{
    Chain chain{kWebOnly};
    Tally tally;
    for (const std::uint16_t offset : {1, 2, 3, 4, 31, 32, 255, 256, 4096, 8191})
        for (const bool more : {false, true})
            for (const Layer& payload : {Layer{Tcp{.dport = 80, .flags = SYN}}, Layer{kBait}}) {
                INFO("offset " << offset << ", more " << more);
                const Ipv4 ipv4{.more_fragments = more, .fragment_offset = offset, .protocol = 6};
                const Fragment fragment{.offset = offset, .more = more, .next = 6};
                const Fragment outer{.offset = offset, .more = more};
                check_allowed(chain, tally, build({Eth{}, ipv4, payload}), false);
                check_allowed(chain, tally, build({Eth{}, Ipv6{}, fragment, payload}), false);
                check_allowed(chain, tally, build({Eth{}, Ipv6{}, outer, Fragment{.next = 6}, payload}), false);
            }
    CHECK(tally.cases == 10 * 2 * 2 * 3);
    CHECK(counted_as_web(chain) == 0);
}

TEST_CASE("fw: the reserved byte of an IPv6 fragment header moves nothing")
{
    Chain chain{kWebOnly};
    Tally tally;
    // Taken for a length, it would lead past the header of TCP to 81 to one of TCP to 80, or the other way round.
    const Payload far{bait(520)}, other{std::string(2080, '\x51')};
    for (unsigned reserved = 0; reserved < 256; ++reserved) {
        INFO("reserved " << reserved);
        const Fragment header{.reserved = static_cast<std::uint8_t>(reserved)};
        Fragment gre = header, later = header;
        gre.next = 47;
        later.offset = 3, later.next = 6;
        check_allowed(chain, tally, packet(Eth{}, Ipv6{}, header, Tcp{.dport = 81}, far), false);
        check_allowed(chain, tally, packet(Eth{}, Ipv6{}, header, Tcp{.dport = 80}, other), true);
        check_allowed(chain, tally, packet(Eth{}, Ipv6{}, gre, far), false);
        check_allowed(chain, tally, packet(Eth{}, Ipv6{}, later, far), false);
    }
    CHECK(tally.allowed == 256);
    CHECK(counted_as_web(chain) == 256);
}

TEST_CASE("fw: impossible lengths let nothing through")
{
    Chain chain{kWebOnly};
    Tally tally;
    const Tcp web{.dport = 80};
    const auto check = [&](const Layers& rest, bool expected = false) {
        for (const auto& tags : kTags) {
            INFO(tags.name);
            auto layers = tags.layers;
            layers.insert(layers.end(), rest.begin(), rest.end());
            check_allowed(chain, tally, build(layers), expected);
        }
    };
    for (std::uint8_t ihl = 0; ihl < 5; ++ihl) {
        INFO("ihl " << +ihl);
        check({Ipv4{.ihl = ihl}, web, kBait});
        check({Ipv4{.fragment_offset = 3, .ihl = ihl}, web, kBait});
    }
    for (std::uint16_t length = 0; length < 20; ++length) {
        INFO("total length " << length);
        check({Ipv4{.total_length = length}, web, kBait});
    }
    for (const std::uint16_t length : {20, 24, 40, 59, 60, 64, 79}) {
        INFO("total length " << length << " with ihl 15");
        check({Ipv4{.options = bait(10), .total_length = length}, web, kBait});
    }
    for (const std::uint16_t excess : {1, 4, 1000, 60000}) {
        INFO(excess << " bytes more than there are");
        check({Ipv4{.total_length = static_cast<std::uint16_t>(40 + 164 + excess)}, web, kBait});
        check({Ipv6{.payload_length = static_cast<std::uint16_t>(20 + 164 + excess)}, web, kBait});
        check({Ipv6{.payload_length = static_cast<std::uint16_t>(32 + 184 + excess)}, destination(7), web, kBait});
    }
    for (std::uint16_t length = 0; length < 20; ++length) {
        INFO("payload length " << length);
        check({Ipv6{.payload_length = length}, web, kBait});
        check({Ipv6{.payload_length = length}, Fragment{.more = true}, web, kBait});
    }
    INFO("a jumbogram (RFC 2675), versions, and lengths of extension headers");
    check({Ipv6{.payload_length = 0}, HopByHop{.options = std::string{"\xc2\x04\x00\x00\x00\xc0", 6}}, web, kBait});
    check({Ipv4{.version = 6}, web, kBait});
    check({Ipv6{.version = 4}, web, kBait});
    check({Ipv6{}, DestOpts{.length = 255}, web, kBait});
    check({Ipv6{}, AuthHeader{.length = 255}, web, kBait});
    CHECK(tally.allowed == 0);
    CHECK(tally.cases == 4 * (5 * 2 + 20 + 7 + 4 * 3 + 20 * 2 + 5));

    // Where lengths are possible, the header is where they say: here that is in the bait.
    check({Ipv4{.ihl = 15}, Tcp{.dport = 81}, kBait}, true);
    check({Ipv6{}, DestOpts{.length = 3}, Tcp{.dport = 81}, kBait}, true);
    CHECK(tally.allowed == 4 * 2);
    CHECK(counted_as_web(chain) == tally.allowed);
}
