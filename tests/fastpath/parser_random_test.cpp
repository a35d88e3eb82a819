// SPDX-License-Identifier: MIT
/// The Parser against the reference parser, on random packets: well formed, damaged, and noise.
#include <arpa/inet.h>

#include <cstring>
#include <random>

#include "catch.hpp"
#include "chain.hpp"
#include "packet.hpp"
#include "reference_parser.hpp"

using namespace evnf::test;

namespace {

const std::string kOpen = "ports: [{name: eth0, chain: []}]\n";

class Random {
public:
    explicit Random(unsigned seed) : engine_{seed} {}

    unsigned below(unsigned limit) { return static_cast<unsigned>(engine_()) % limit; }
    std::uint8_t byte() { return static_cast<std::uint8_t>(below(256)); }
    std::uint16_t word() { return static_cast<std::uint16_t>(below(65536)); }
    std::string text(unsigned size)
    {
        std::string bytes(size, '\0');
        for (char& c : bytes) c = static_cast<char>(byte());
        return bytes;
    }

    /// A well-formed packet of random layers and contents.
    Frame good()
    {
        std::vector<Layer> layers{Eth{}};
        for (unsigned tags = below(3); tags > 0; --tags)
            layers.emplace_back(Vlan{.id = static_cast<std::uint16_t>(below(4096)),
                                     .priority = static_cast<std::uint8_t>(below(8)),
                                     .tpid = static_cast<std::uint16_t>(below(2) ? 0x8100 : 0x88a8)});
        const bool v4 = below(2);
        const bool later_fragment = v4 ? add_ipv4(layers) : add_ipv6(layers);
        if (!later_fragment) add_l4(layers, v4);
        layers.emplace_back(Payload{text(below(100))});
        return build(layers);
    }

    void damage(Frame& frame)
    {
        for (unsigned changes = 1 + below(3); changes > 0; --changes) {
            // Headers, not payload: most of the frame's first bytes matter.
            const std::size_t at =
                12 + below(static_cast<unsigned>(std::min<std::size_t>(frame.size() - 12, 80)));
            frame[at] = static_cast<std::byte>(below(3) ? byte() : below(2) * 255);
        }
        if (below(3) == 0) frame.resize(14 + below(static_cast<unsigned>(frame.size()) - 13));
    }

private:
    bool add_ipv4(std::vector<Layer>& layers)
    {
        Ipv4 ip{.ttl = byte(), .tos = byte(), .id = word(), .dont_fragment = below(2) == 0};
        if (below(3) == 0) ip.options = text(below(41));
        if (below(4) == 0) ip.more_fragments = true;
        if (below(4) == 0) ip.fragment_offset = static_cast<std::uint16_t>(2 + below(8190));
        if (ip.fragment_offset) ip.protocol = byte();
        layers.emplace_back(ip);
        return ip.fragment_offset > 0;
    }

    bool add_ipv6(std::vector<Layer>& layers)
    {
        layers.emplace_back(Ipv6{.hop_limit = byte(), .traffic_class = byte(), .flow_label = below(1 << 20)});
        if (below(3) == 0) layers.emplace_back(HopByHop{.options = text(below(30))});
        for (unsigned headers = below(3) ? 0 : below(8); headers > 0; --headers) {
            switch (below(4)) {
                case 0:
                    layers.emplace_back(DestOpts{.options = text(below(30))});
                    break;
                case 1:
                    layers.emplace_back(Routing{.type = static_cast<std::uint8_t>(1 + below(255)),
                                                .data = text(4 + 8 * below(3))});
                    break;
                case 2:
                    layers.emplace_back(AuthHeader{.icv = text(12 + 4 * below(3))});
                    break;
                case 3:
                    layers.emplace_back(Fragment{.more = below(2) == 0, .reserved = byte()});
                    break;
            }
        }
        if (below(4)) return false;
        layers.emplace_back(Fragment{.offset = static_cast<std::uint16_t>(1 + below(8191)),
                                     .more = below(2) == 0,
                                     .reserved = byte(),
                                     .next = byte()});
        return true;
    }

    void add_l4(std::vector<Layer>& layers, bool v4)
    {
        switch (below(5)) {
            case 0:
                layers.emplace_back(
                    Tcp{.sport = word(), .dport = word(), .flags = byte(), .options = text(below(41))});
                break;
            case 1:
                layers.emplace_back(Udp{.sport = word(), .dport = word()});
                break;
            case 2:
                layers.emplace_back(Sctp{.sport = word(), .dport = word()});
                break;
            case 3:
                v4 ? layers.emplace_back(Icmp{.type = byte(), .code = byte()})
                   : layers.emplace_back(Icmpv6{.type = byte(), .code = byte()});
                break;
            case 4:
                break; // an unknown protocol
        }
    }

    std::mt19937 engine_;
};

std::string address(const evnf_address& address, unsigned ip_version)
{
    const auto* bytes = reinterpret_cast<const char*>(address.bytes);
    return ip_version == 4 ? std::string{bytes + 12, 4} : std::string{bytes, 16};
}

void check_fields(const evnf_packet& packet, const Parsed& parsed)
{
    CHECK(unsigned{packet.ip_version} == parsed.ip_version);
    CHECK(std::size_t{packet.vlan_tags} == parsed.vlans.size());
    for (std::size_t i = 0; i < 2; ++i)
        CHECK(unsigned{packet.vlan[i]} ==
              (i < parsed.vlans.size() ? parsed.vlans[i] : unsigned{EVNF_NO_VLAN}));
    CHECK(std::size_t{packet.l3_offset} == parsed.l3_offset);
    if (parsed.ip_version == 0) return;
    CHECK(address(packet.src, parsed.ip_version) == parsed.src);
    CHECK(address(packet.dst, parsed.ip_version) == parsed.dst);
    CHECK(unsigned{packet.protocol} == parsed.protocol);
    CHECK(unsigned{packet.ttl} == parsed.ttl);
    CHECK(unsigned{packet.tos} == parsed.tos);
    CHECK((packet.ip_options != 0) == parsed.options);
    CHECK((packet.fragment == EVNF_FRAGMENT_LATER) == parsed.later_fragment);
    CHECK((packet.fragment == EVNF_FRAGMENT_FIRST) == (parsed.first_fragment && !parsed.later_fragment));
    CHECK(ntohs(packet.sport) == parsed.sport);
    CHECK(ntohs(packet.dport) == parsed.dport);
    CHECK(unsigned{packet.tcp_flags} == parsed.tcp_flags);
    CHECK(unsigned{packet.icmp_type} == parsed.icmp_type);
    CHECK(unsigned{packet.icmp_code} == parsed.icmp_code);
    CHECK(std::size_t{packet.l4_offset} == parsed.l4_offset);
    CHECK(std::size_t{packet.payload_offset} == parsed.payload_offset);
    CHECK(std::size_t{packet.l3_length} == parsed.end - parsed.l3_offset);
}

std::string hex(const Frame& frame)
{
    std::string text;
    for (const std::byte byte : frame) {
        text += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
        text += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 15];
    }
    return text;
}

} // namespace

TEST_CASE("parser: agrees with the reference parser on random good packets")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    Random random{seed};
    Chain chain{kOpen};
    for (int i = 0; i < 5000; ++i) {
        const auto frame = random.good();
        const auto parsed = reference_parse(frame);
        const auto result = chain.run("eth0", frame);
        INFO("packet " << i << ": " << describe(frame) << " " << hex(frame));
        CHECK((result.verdict == EVNF_DROP ? result.reason : "") == parsed.problem);
        if (parsed.problem.empty()) check_fields(result.packet, parsed);
    }
}

TEST_CASE("parser: drops of damaged packets exactly those that the reference parser refuses")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    Random random{seed};
    Chain chain{kOpen};
    for (int i = 0; i < 10'000; ++i) {
        auto frame = random.good();
        random.damage(frame);
        if (!chain.can_run("eth0", frame)) continue;
        const auto parsed = reference_parse(frame);
        const auto result = chain.run("eth0", frame);
        INFO("packet " << i << ": " << describe(frame) << " " << hex(frame) << " " << result.reason);
        CHECK((result.verdict == EVNF_DROP) == !parsed.problem.empty());
        if (parsed.problem.empty()) check_fields(result.packet, parsed);
    }
}

TEST_CASE("parser: noise ends in a named verdict")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    Random random{seed};
    Chain chain{kOpen};
    for (int i = 0; i < 5000; ++i) {
        const std::string bytes = random.text(14 + random.below(300));
        Frame frame(bytes.size());
        std::memcpy(frame.data(), bytes.data(), bytes.size());
        // Half of it says that it is IP: else the parser would not look.
        if (random.below(2))
            frame[12] = std::byte{0x08}, frame[13] = std::byte{0x00}, frame[14] = std::byte{0x45};
        if (!chain.can_run("eth0", frame)) continue;
        const auto result = chain.run("eth0", frame);
        INFO("packet " << i << ": " << hex(frame));
        CHECK((result.verdict == EVNF_FORWARD || (result.reason != "none" && !result.reason.empty())));
    }
    CHECK(chain.stats().at("missed_tail_calls").to_number<int>() == 0);
}
