// SPDX-License-Identifier: MIT
#include "packet_words.hpp"

#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

#include <evnf/dscp.hpp>

#include "protocols.hpp"

namespace evnf::fw {

namespace {

constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint32_t kMaxVlan = 4095; // what a tag has room for

constexpr std::array<std::pair<std::string_view, fw_state>, 4> kStates{{
    {"new", FW_STATE_NEW},
    {"established", FW_STATE_ESTABLISHED},
    {"related", FW_STATE_RELATED},
    {"invalid", FW_STATE_INVALID},
}};
constexpr std::array<std::pair<std::string_view, evnf_fragment>, 3> kFragments{
    {{"no", EVNF_FRAGMENT_NONE}, {"first", EVNF_FRAGMENT_FIRST}, {"later", EVNF_FRAGMENT_LATER}}};

template <class... Args>
[[noreturn]] void refuse(std::string_view format, const Args&... args)
{
    throw std::invalid_argument{fmt::format(fmt::runtime(format), args...)};
}

std::vector<std::string> split(std::string_view text, char separator)
{
    std::vector<std::string> words;
    for (std::size_t at = 0; at < text.size();) {
        const auto end = std::min(text.find(separator, at), text.size());
        if (end > at) words.emplace_back(text.substr(at, end - at));
        at = end + 1;
    }
    return words;
}

std::uint32_t number(std::string_view text, std::uint32_t max, std::string_view what)
{
    std::uint32_t value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc{} || end != text.data() + text.size() || value > max)
        refuse("{} must be a number from 0 to {}, not '{}'", what, max, text);
    return value;
}

template <class Table>
auto named(const Table& table, std::string_view name, std::string_view what)
{
    const auto found = std::find_if(table.begin(), table.end(), [&](const auto& e) { return e.first == name; });
    std::string names;
    for (const auto& entry : table) names.append(names.empty() ? "" : ", ").append(entry.first);
    if (found == table.end()) refuse("{} must be one of {}, not '{}'", what, names, name);
    return found->second;
}

template <class Table, class Value>
std::string_view name_in(const Table& table, Value value)
{
    return std::find_if(table.begin(), table.end(), [&](const auto& e) { return e.second == value; })->first;
}

std::uint8_t read_protocol(const std::string& text)
{
    if (const auto known = protocol_number(text)) return *known;
    return static_cast<std::uint8_t>(number(text, 255, "the protocol, if it is no name such as tcp, udp or icmp,"));
}

/// An address alone, 10.1.0.2:80, [2001:db8::1] or [2001:db8::1]:80.
void read_endpoint(const std::string& text, Address& address, std::optional<std::uint16_t>& port)
{
    std::string_view host = text, rest;
    if (const auto bracket = text.find(']'); text.starts_with('[') && bracket != std::string::npos) {
        host = std::string_view{text}.substr(1, bracket - 1);
        rest = std::string_view{text}.substr(bracket + 1);
    } else if (const auto colon = text.find(':'); colon != std::string::npos && text.find(':', colon + 1) == std::string::npos) {
        host = std::string_view{text}.substr(0, colon);
        rest = std::string_view{text}.substr(colon);
    }
    const auto read = Address::parse(host);
    if (!read || (!rest.empty() && !rest.starts_with(':')))
        refuse("'{}' must be ADDRESS, ADDRESS:PORT or, in IPv6, [ADDRESS]:PORT", text);
    address = *read;
    if (!rest.empty()) port = static_cast<std::uint16_t>(number(rest.substr(1), 65535, "a port"));
}

/// Reads what stands behind the addresses.
class OptionReader {
public:
    OptionReader(DescribedPacket& packet, const PortNames& ports) : packet_{packet}, ports_{ports} {}

    void read(const std::string& key, const std::string& value)
    {
        using Read = void (OptionReader::*)(const std::string&);
        static const std::map<std::string, Read, std::less<>> readers{
            {"in", &OptionReader::in},       {"vlan", &OptionReader::vlan},   {"inner_vlan", &OptionReader::inner_vlan},
            {"mac", &OptionReader::mac},     {"dscp", &OptionReader::dscp},   {"flags", &OptionReader::flags},
            {"icmp", &OptionReader::icmp},   {"state", &OptionReader::state}, {"fragment", &OptionReader::fragment},
        };
        const auto reader = readers.find(key);
        if (reader == readers.end())
            refuse("'{}' is none of in, vlan, inner_vlan, mac, dscp, flags, icmp, fragment and state", key);
        if (std::find(seen_.begin(), seen_.end(), key) != seen_.end()) refuse("'{}' is there twice", key);
        seen_.push_back(key);
        (this->*reader->second)(value);
    }

    bool saw(std::string_view key) const { return std::find(seen_.begin(), seen_.end(), key) != seen_.end(); }

private:
    void in(const std::string& value)
    {
        const auto port = std::find(ports_.begin(), ports_.end(), value);
        if (port == ports_.end()) refuse("there is no port '{}' in ports", value);
        packet_.in_port = static_cast<std::uint16_t>(port - ports_.begin());
    }
    void vlan(const std::string& value) { packet_.vlan = static_cast<std::uint16_t>(number(value, kMaxVlan, "vlan")); }
    void inner_vlan(const std::string& value)
    {
        packet_.inner_vlan = static_cast<std::uint16_t>(number(value, kMaxVlan, "inner_vlan"));
    }
    void mac(const std::string& value)
    {
        packet_.mac = mac_address(value);
        if (!packet_.mac) refuse("mac must be a MAC address such as 02:00:5e:10:00:01, not '{}'", value);
    }
    void dscp(const std::string& value)
    {
        const auto known = dscp_number(value);
        packet_.dscp = known ? *known : static_cast<std::uint8_t>(number(value, 63, "dscp, if it is no name such as ef,"));
    }
    void flags(const std::string& value)
    {
        packet_.tcp_flags = 0;
        if (value == "none") return;
        for (const auto& name : split(value, ',')) {
            const auto bit = tcp_flag(name);
            if (!bit) refuse("'{}' is no TCP flag; there are fin, syn, rst, psh, ack, urg, ece, cwr, and none", name);
            packet_.tcp_flags |= *bit;
        }
    }
    void icmp(const std::string& value)
    {
        const auto slash = value.find('/');
        const auto type = value.substr(0, slash);
        const auto* known = icmp_name(type);
        if (const auto in_protocol = known ? known->number(packet_.protocol) : std::nullopt)
            packet_.icmp_type = *in_protocol;
        else
            packet_.icmp_type = static_cast<std::uint8_t>(number(type, 255, "icmp, if it is no name such as echo-request,"));
        packet_.icmp_code = slash == std::string::npos ? 0 : static_cast<std::uint8_t>(number(value.substr(slash + 1), 255, "the code"));
    }
    void fragment(const std::string& value) { packet_.fragment = named(kFragments, value, "fragment"); }
    void state(const std::string& value) { packet_.state = named(kStates, value, "state"); }

    DescribedPacket& packet_;
    const PortNames& ports_;
    std::vector<std::string> seen_;
};

/// The other family's ICMP: a protocol like any other, and hardly what somebody means who says its name.
bool is_foreign_icmp(const DescribedPacket& packet)
{
    return packet.protocol == (packet.src.is_v4() ? +IPPROTO_ICMPV6 : +IPPROTO_ICMP);
}

/// Words that no packet can have together.
void check(const DescribedPacket& packet, const std::string& protocol, const OptionReader& options)
{
    if (packet.src.is_v4() != packet.dst.is_v4()) refuse("one address is IPv4 and the other IPv6");
    if (is_foreign_icmp(packet) && protocol_number(protocol))
        refuse(packet.src.is_v4() ? "IPv4 has icmp, not icmpv6" : "IPv6 has icmpv6, not icmp");
    const auto whose = packet.fragment == EVNF_FRAGMENT_LATER ? "a later fragment" : "a packet of protocol " + protocol_text(packet.protocol);
    const auto has = [&](bool given, bool there, std::string_view what) {
        if (given && !there) refuse("{} has no {}", whose, what);
    };
    has(packet.sport || packet.dport, packet.has_ports(), "ports");
    has(options.saw("flags"), packet.has_flags(), "TCP flags");
    has(options.saw("icmp"), packet.has_icmp(), "ICMP type");
    if (packet.inner_vlan != EVNF_NO_VLAN && packet.vlan == EVNF_NO_VLAN) refuse("inner_vlan needs vlan, the outer tag");
}

/// A ">" may stand without blanks around it.
std::vector<std::string> words_of(std::string_view text)
{
    std::string spaced;
    for (const char c : text) {
        if (c == '>')
            spaced += " > ";
        else
            spaced += c == '\t' || c == '\n' ? ' ' : c;
    }
    return split(spaced, ' ');
}

std::string endpoint(const Address& address, const std::optional<std::uint16_t>& port)
{
    if (!port) return address.text();
    return fmt::format(fmt::runtime(address.is_v4() ? "{}:{}" : "[{}]:{}"), address.text(), *port);
}

} // namespace

bool DescribedPacket::has_ports() const
{
    return fw::has_ports(protocol) && fragment != EVNF_FRAGMENT_LATER;
}

bool DescribedPacket::has_flags() const
{
    return protocol == IPPROTO_TCP && fragment != EVNF_FRAGMENT_LATER;
}

bool DescribedPacket::has_icmp() const
{
    return protocol == (src.is_v4() ? +IPPROTO_ICMP : +IPPROTO_ICMPV6) && fragment != EVNF_FRAGMENT_LATER;
}

DescribedPacket read_packet(std::string_view text, const PortNames& ports)
{
    const auto words = words_of(text);
    if (words.size() < 4 || words[2] != ">")
        refuse("a packet is described as PROTO SRC[:PORT] > DST[:PORT] [KEY VALUE]…, such as 'tcp 10.1.0.2:1234 > 10.2.0.2:80 in eth0'");
    DescribedPacket packet;
    packet.protocol = read_protocol(words[0]);
    read_endpoint(words[1], packet.src, packet.sport);
    read_endpoint(words[3], packet.dst, packet.dport);
    OptionReader options{packet, ports};
    for (std::size_t i = 4; i < words.size(); i += 2) {
        if (i + 1 == words.size()) refuse("'{}' has no value", words[i]);
        options.read(words[i], words[i + 1]);
    }
    check(packet, words[0], options);
    if (packet.has_flags() && !options.saw("flags")) packet.tcp_flags = kSyn;
    if (packet.has_icmp() && !options.saw("icmp")) packet.icmp_type = *icmp_name("echo-request")->number(packet.protocol);
    return packet;
}

std::string to_words(const DescribedPacket& packet, const PortNames& ports)
{
    const auto protocol = is_foreign_icmp(packet) ? std::to_string(packet.protocol) : protocol_text(packet.protocol);
    std::string text = fmt::format("{} {} > {}", protocol, endpoint(packet.src, packet.sport), endpoint(packet.dst, packet.dport));
    const auto add = [&](bool there, std::string_view key, const std::string& value) {
        if (there) text += fmt::format(" {} {}", key, value);
    };
    const auto flags = tcp_flags_text(packet.tcp_flags);
    add(packet.has_flags(), "flags", flags.empty() ? "none" : flags);
    add(packet.has_icmp(), "icmp", fmt::format("{}/{}", icmp_type_text(packet.protocol, packet.icmp_type), packet.icmp_code));
    add(packet.in_port.has_value(), "in", packet.in_port ? ports.at(*packet.in_port) : "");
    add(packet.vlan != EVNF_NO_VLAN, "vlan", std::to_string(packet.vlan));
    add(packet.inner_vlan != EVNF_NO_VLAN, "inner_vlan", std::to_string(packet.inner_vlan));
    add(packet.mac.has_value(), "mac", mac_text(packet.mac.value_or(0)));
    add(true, "dscp", dscp_text(packet.dscp));
    add(true, "fragment", std::string{name_in(kFragments, packet.fragment)});
    add(true, "state", std::string{name_in(kStates, packet.state)});
    return text;
}

} // namespace evnf::fw
