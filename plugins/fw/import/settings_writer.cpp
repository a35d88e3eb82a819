// SPDX-License-Identifier: MIT
#include "settings_writer.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <netinet/in.h>

#include <algorithm>

#include "address_values.hpp"

namespace evnf::fw::iptables {

namespace {

/// Longer lists of prefixes are written as what is not in them, where that is shorter.
constexpr std::size_t kLongList = 8;
/// The firewall takes 64 different negated lists on each side.
constexpr std::size_t kMostNegated = 60;

std::string quoted(const std::string& text)
{
    return '"' + text + '"';
}

std::string list(const std::vector<std::string>& elements)
{
    return elements.size() == 1 ? elements.front() : fmt::format("[{}]", fmt::join(elements, ", "));
}

std::string in_yaml(const std::string& prefix)
{
    return prefix.find(':') == std::string::npos ? prefix : quoted(prefix);
}

std::string range_list(const NumberSet& set)
{
    std::vector<std::string> texts;
    for (const auto& [first, last] : set.intervals()) texts.push_back(first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last));
    return list(texts);
}

std::string protocol_name(std::uint32_t protocol)
{
    switch (protocol) {
    case IPPROTO_ICMP: return "icmp";
    case IPPROTO_TCP: return "tcp";
    case IPPROTO_UDP: return "udp";
    case IPPROTO_GRE: return "gre";
    case IPPROTO_ESP: return "esp";
    case IPPROTO_AH: return "ah";
    case IPPROTO_ICMPV6: return "icmpv6";
    case IPPROTO_SCTP: return "sctp";
    default: return fmt::format("{}", protocol);
    }
}

/// Each number of the set by its name.
template <class Name>
std::string name_list(const NumberSet& set, Name name)
{
    std::vector<std::string> names;
    for (const auto& [first, last] : set.intervals())
        for (auto number = first; number <= last; ++number) names.push_back(name(number));
    return list(names);
}

std::string icmp_list(const NumberSet& set)
{
    std::vector<std::string> types;
    for (std::uint32_t type = 0; type < 256; ++type) {
        const auto whole = NumberSet::of(kMaxIcmp, type << 8, type << 8 | 255);
        const auto codes = whole & set;
        if (codes == whole) types.push_back(fmt::format("{}", type));
        if (codes == whole || codes.empty()) continue;
        for (const auto& [first, last] : codes.intervals())
            for (auto code = first; code <= last; ++code) types.push_back(fmt::format("\"{}/{}\"", type, code & 255));
    }
    return list(types);
}

std::string flag_list(const Conditions& conditions)
{
    constexpr const char* names[] = {"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"};
    std::vector<std::string> words;
    for (unsigned bit = 0; bit < 8; ++bit) {
        if (conditions.flags_set >> bit & 1) words.push_back(names[bit]);
        if (conditions.flags_clear >> bit & 1) words.push_back(std::string{"!"} + names[bit]);
    }
    return fmt::format("\"{}\"", fmt::join(words, ","));
}

std::string name_list(const std::set<std::string>& names)
{
    std::vector<std::string> texts;
    for (const auto& name : names) texts.push_back(quoted(name));
    return list(texts);
}

/// Only what a rule's name may be made of.
std::string clean(const std::string& name)
{
    std::string result = name;
    for (char& c : result)
        if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '_';
    return result;
}

class Writer {
public:
    Writer(const Flattened& flattened, const Scope& scope, const std::string& file) : flattened_{flattened}, scope_{scope}, file_{file} {}

    Settings write(const std::vector<std::string>& local)
    {
        const auto& last = flattened_.decisions.back();
        const bool by_policy = flattened_.complete && !last.rule && last.conditions.is_all();
        const char* fallback = !by_policy ? "netfilter" : last.verdict == Verdict::drop ? "drop" : "next";
        settings_.yaml = fmt::format(
            "# From {} by evnfctl fw import: the chain FORWARD and those that it jumps to.\n"
            "plugins:\n  fw:\n    default: {}\n    rules:\n",
            one_line(file_), fallback);
        write_first(local);
        auto end = flattened_.decisions.end();
        if (by_policy || !flattened_.complete) --end;
        for (auto decision = flattened_.decisions.begin(); decision != end; ++decision) write(*decision);
        if (by_policy) {
            comment(fmt::format("{} has rules of its own", scope_.family == Family::v4 ? "IPv6" : "IPv4"));
            const Family other = scope_.family == Family::v4 ? Family::v6 : Family::v4;
            add("other-family", fmt::format("src: {}", in_yaml(all_prefix(other))), "netfilter");
        }
        return std::move(settings_);
    }

private:
    void write_first(const std::vector<std::string>& local)
    {
        if (!local.empty()) {
            comment("packets to this machine are INPUT's");
            std::vector<std::string> addresses;
            for (const auto& address : local) addresses.push_back(in_yaml(address));
            add("local", "dst: " + list(addresses), "netfilter");
        }
        comment("netfilter may put fragments together before it looks");
        add("fragments", fmt::format("src: {}, fragment: yes", in_yaml(all_prefix(scope_.family))), "netfilter");
    }

    void comment(const std::string& text) { settings_.yaml += fmt::format("      # {}\n", text); }

    void add(const std::string& name, const std::string& conditions, std::string_view action)
    {
        settings_.yaml += fmt::format("      - {{name: {}, {}, action: {}}}\n", unique(name), conditions, action);
        ++settings_.rules;
    }

    /// -2, -3, … behind names that are there already.
    std::string unique(const std::string& name)
    {
        if (names_.insert(name).second) return name;
        for (auto& suffix = suffixes_.try_emplace(name, 1).first->second;;) {
            const auto next = fmt::format("{}-{}", name, ++suffix);
            if (names_.insert(next).second) return next;
        }
    }

    void write(const Decision& decision)
    {
        if (commented_ != decision.rule || first_) comment_on(decision.rule);
        first_ = false;
        commented_ = decision.rule;
        const auto conditions = conditions_of(decision.conditions);
        if (conditions.empty()) return;
        auto name = decision.rule ? fmt::format("{}-{}", clean(decision.rule->chain), decision.rule->number) : "FORWARD-policy";
        if (decision.verdict == Verdict::netfilter) name += "-netfilter";
        add(name, conditions, action_of(decision.verdict));
    }

    void comment_on(const SavedRule* rule)
    {
        comment(rule ? fmt::format("line {}: {}", rule->line, one_line(rule->text)) : "the policy of FORWARD");
    }

    static std::string_view action_of(Verdict verdict)
    {
        switch (verdict) {
        case Verdict::allow: return "allow";
        case Verdict::drop: return "drop";
        case Verdict::reject: return "reject";
        default: return "netfilter";
        }
    }

    /// Empty where eVNF gives the rule no such packet.
    std::string conditions_of(const Conditions& c)
    {
        std::vector<std::string> texts;
        const auto add = [&](bool there, const char* key, const auto& value) {
            if (there) texts.push_back(fmt::format("{}: {}", key, value()));
        };
        if (!add_addresses(c, texts)) return "";
        add(!c.protocols.is_all(), "proto", [&] { return name_list(c.protocols, protocol_name); });
        add(!c.sport.is_all(), "sport", [&] { return range_list(c.sport); });
        add(!c.dport.is_all(), "dport", [&] { return range_list(c.dport); });
        add(!c.icmp.is_all(), "icmp_type", [&] { return icmp_list(c.icmp); });
        add(c.flags_set || c.flags_clear, "tcp_flags", [&] { return flag_list(c); });
        add(!c.states.is_all(), "state", [&] { return "[" + states_of(c.states) + "]"; });
        add(!c.dscps.is_all(), "dscp", [&] { return name_list(c.dscps, [](auto n) { return fmt::format("{}", n); }); });
        add(c.in_ports.has_value(), "in_port", [&] { return name_list(*c.in_ports); });
        add(c.macs.has_value(), "src_mac", [&] { return name_list(*c.macs); });
        return fmt::format("{}", fmt::join(texts, ", "));
    }

    static std::string states_of(const NumberSet& states)
    {
        std::vector<std::string> words;
        for (const auto& [first, last] : states.intervals()) words.insert(words.end(), kStates + first, kStates + last + 1);
        return fmt::format("{}", fmt::join(words, ", "));
    }

    /// Both sides; one of them names the family, which a negated list does not.
    bool add_addresses(const Conditions& c, std::vector<std::string>& texts)
    {
        bool names_family = false;
        for (const bool is_src : {true, false}) {
            const auto& set = is_src ? c.src : c.dst;
            if (set.is_all()) continue;
            auto prefixes = prefixes_of(set, scope_.family);
            if (prefixes.empty()) return false;
            const bool negated = takes_negation(prefixes, prefixes_of(~set, scope_.family), negated_[is_src]);
            names_family |= !negated;
            for (auto& prefix : prefixes) prefix = negated ? quoted("!" + prefix) : in_yaml(prefix);
            texts.push_back(fmt::format("{}: {}", is_src ? "src" : "dst", list(prefixes)));
        }
        if (names_family) return true;
        const char* free_side = c.src.is_all() ? "src" : c.dst.is_all() ? "dst" : nullptr;
        if (free_side)
            texts.insert(texts.begin(), fmt::format("{}: {}", free_side, in_yaml(all_prefix(scope_.family))));
        else
            texts.front() = fmt::format("src: [{}]", join_prefixes(prefixes_of(c.src, scope_.family)));
        return true;
    }

    static std::string join_prefixes(std::vector<std::string> prefixes)
    {
        for (auto& prefix : prefixes) prefix = in_yaml(prefix);
        return fmt::format("{}", fmt::join(prefixes, ", "));
    }

    /// Replaces the prefixes by those that are not in the set, where these are few.
    static bool takes_negation(std::vector<std::string>& prefixes, std::vector<std::string> others, std::set<std::vector<std::string>>& negated)
    {
        if (prefixes.size() <= kLongList || others.size() >= prefixes.size() || others.empty()) return false;
        if (!negated.contains(others) && negated.size() == kMostNegated) return false;
        negated.insert(others);
        prefixes = std::move(others);
        return true;
    }

    const Flattened& flattened_;
    const Scope& scope_;
    const std::string& file_;
    Settings settings_;
    std::set<std::string> names_{"default", "established"};
    std::map<std::string, std::size_t> suffixes_;
    std::set<std::vector<std::string>> negated_[2];
    const SavedRule* commented_ = nullptr;
    bool first_ = true;
};

} // namespace

std::string one_line(std::string_view text)
{
    std::string result{text};
    for (char& c : result)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return result;
}

Settings write_settings(const Flattened& flattened, const Scope& scope, const std::string& file, const std::vector<std::string>& local)
{
    return Writer{flattened, scope, file}.write(local);
}

} // namespace evnf::fw::iptables
