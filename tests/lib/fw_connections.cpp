// SPDX-License-Identifier: MIT
#include "fw_connections.hpp"

#include <algorithm>
#include <set>
#include <vector>

namespace evnf::test {

namespace {

enum class IcmpKind { none, request, reply, error, other };

bool is_icmp(unsigned protocol)
{
    return protocol == kIcmp || protocol == kIcmpv6;
}

/// The protocol of one family is nothing in the other.
IcmpKind icmp_kind(const Parsed& packet)
{
    static const std::set<unsigned> requests{8, 13, 17}, replies{0, 14, 18}, errors{3, 4, 5, 11, 12};
    if (!is_icmp(packet.protocol)) return IcmpKind::none;
    const unsigned type = packet.icmp_type;
    if (packet.protocol != (packet.ip_version == 4 ? kIcmp : kIcmpv6)) return IcmpKind::other;
    if (packet.ip_version == 6)
        return type < 128 ? IcmpKind::error : type == 128 ? IcmpKind::request : type == 129 ? IcmpKind::reply : IcmpKind::other;
    return requests.count(type) ? IcmpKind::request : replies.count(type) ? IcmpKind::reply : errors.count(type) ? IcmpKind::error : IcmpKind::other;
}

/// The type of the question that a reply is about.
unsigned question(const Parsed& reply)
{
    return reply.icmp_type == 0 ? 8 : reply.icmp_type - 1;
}

bool is_tcp(const Parsed& packet)
{
    return packet.protocol == kTcp;
}

bool is_bare_syn(const Parsed& packet)
{
    return is_tcp(packet) && (packet.tcp_flags & (SYN | ACK)) == SYN;
}

bool has_sane_flags(const Parsed& packet)
{
    static const std::set<unsigned> sane{SYN, SYN | URG, SYN | ACK, ACK, ACK | URG, ACK | FIN, ACK | FIN | URG, ACK | RST, RST};
    return sane.count(packet.tcp_flags & (FIN | SYN | RST | ACK | URG));
}

bool is_near(unsigned sequence, unsigned acknowledged)
{
    constexpr unsigned window = 1 << 24;
    return sequence - acknowledged + window / 2 < window;
}

/// The packet that an ICMP error quotes, as far as it is quoted: 8 bytes of its L4 header at least.
std::optional<Parsed> quoted(const Frame& frame, const Parsed& error)
{
    constexpr std::size_t longest = 65600;
    const auto begin = frame.begin() + static_cast<std::ptrdiff_t>(error.l4_offset + 8), end = frame.begin() + static_cast<std::ptrdiff_t>(error.end);
    Frame quote = build({Eth{.type = static_cast<std::uint16_t>(error.ip_version == 4 ? 0x0800 : 0x86dd)}});
    quote.insert(quote.end(), begin, end);
    const std::size_t size = quote.size();
    quote.resize(longest); // the rest of what the packet said it has
    auto packet = reference_parse(quote); // whatever is wrong with the rest of it
    if (packet.later_fragment || packet.l4_offset == 0 || packet.l4_offset + 8 > size) return std::nullopt;
    return packet;
}

} // namespace

/// Of the sender and of the receiver. A query's are its identifier at the asking end, the question's type at the other.
std::pair<FwConnections::End, FwConnections::End> FwConnections::ends(const Parsed& packet)
{
    switch (icmp_kind(packet)) {
        case IcmpKind::request:
            return {{packet.src, packet.icmp_id}, {packet.dst, packet.icmp_type}};
        case IcmpKind::reply:
            return {{packet.src, packet.ip_version == 4 ? question(packet) : 128}, {packet.dst, packet.icmp_id}};
        default:
            return {{packet.src, packet.sport}, {packet.dst, packet.dport}};
    }
}

FwConnections::Key FwConnections::key(const Parsed& packet)
{
    const auto [from, to] = ends(packet);
    return {packet.protocol, std::min(from, to), std::max(from, to)};
}

std::string FwConnections::state_of(const Frame& frame, Parsed& packet)
{
    if (packet.later_fragment && !recall_first(packet)) return "invalid";
    if (packet.first_fragment && !packet.later_fragment)
        first_fragments_[{packet.src, packet.dst, packet.fragment_id, packet.protocol}] = packet;
    if (is_tcp(packet) && !has_sane_flags(packet)) return "invalid";
    const auto icmp = icmp_kind(packet);
    if (icmp == IcmpKind::error) return !packet.later_fragment && is_related(frame, packet) ? "related" : "invalid";
    if (icmp == IcmpKind::other) return "invalid";
    return is_over(packet) ? state_of_first(packet) : state_within(packet);
}

void FwConnections::remember(const Parsed& packet, const std::string& state)
{
    if (state == "invalid" || state == "related") return;
    if (is_over(packet)) connections_.erase(key(packet));
    auto& said = connections_[key(packet)][ends(packet).first];
    said.any = true;
    if (!is_tcp(packet)) return;
    said.fin |= (packet.tcp_flags & FIN) != 0;
    said.rst = packet.tcp_flags & RST;
    if (packet.tcp_flags & ACK && !packet.later_fragment) said.acknowledged = packet.tcp_ack;
}

bool FwConnections::recall_first(Parsed& packet)
{
    const auto found = first_fragments_.find({packet.src, packet.dst, packet.fragment_id, packet.protocol});
    if (found == first_fragments_.end()) return false;
    const auto& first = found->second;
    packet.has_l4 = true;
    packet.sport = first.sport, packet.dport = first.dport, packet.tcp_flags = first.tcp_flags;
    packet.icmp_type = first.icmp_type, packet.icmp_code = first.icmp_code, packet.icmp_id = first.icmp_id;
    packet.tcp_seq = first.tcp_seq, packet.tcp_ack = first.tcp_ack;
    return true;
}

/// No connection, or one that a new one may take the place of.
bool FwConnections::is_over(const Parsed& packet) const
{
    const auto found = connections_.find(key(packet));
    if (found == connections_.end()) return true;
    return is_bare_syn(packet) && std::any_of(found->second.begin(), found->second.end(), [](const auto& end) {
               return end.second.fin || end.second.rst;
           });
}

std::string FwConnections::state_of_first(const Parsed& packet) const
{
    const bool begins = is_bare_syn(packet) || (loose_ && !(packet.tcp_flags & RST));
    return (is_tcp(packet) && !begins) || icmp_kind(packet) == IcmpKind::reply ? "invalid" : "new";
}

std::string FwConnections::state_within(const Parsed& packet)
{
    const auto [me, you] = ends(packet);
    const auto other = me == you ? Said{} : connections_.at(key(packet))[you]; // nobody answers himself
    if (icmp_kind(packet) == IcmpKind::request) return "new";
    if (packet.tcp_flags & RST && other.acknowledged && (packet.later_fragment || !is_near(packet.tcp_seq, *other.acknowledged)))
        return "invalid";
    if (other.any) return "established";
    return is_tcp(packet) && !is_bare_syn(packet) && !loose_ ? "invalid" : "new";
}

bool FwConnections::is_related(const Frame& frame, const Parsed& packet) const
{
    const auto quote = quoted(frame, packet);
    return quote && quote->src == packet.dst && connections_.count(key(*quote));
}

FwStateful::FwStateful(const std::vector<FwModelRule>& rules, bool loose)
    : rules_{rules},
      tracks_{std::any_of(rules.begin(), rules.end(), [](const auto& rule) { return !rule.states.empty(); })},
      connections_{loose}
{
}

FwDecision FwStateful::decide(const Frame& frame, const std::string& port)
{
    FwDecision decision{nullptr, reference_parse(frame), {}};
    if (tracks_) decision.state = connections_.state_of(frame, decision.packet);
    const auto found = std::find_if(rules_.begin(), rules_.end(), [&](const auto& rule) {
        return fw_matches(rule, decision.packet, port, decision.state);
    });
    if (found == rules_.end()) return decision;
    decision.rule = &*found;
    if (tracks_ && found->action != "drop") connections_.remember(decision.packet, decision.state);
    return decision;
}

} // namespace evnf::test
