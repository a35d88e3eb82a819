// SPDX-License-Identifier: MIT
#include "rule_reader.hpp"

#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <map>

#include "address_values.hpp"
#include "lists.hpp"
#include "names.hpp"

namespace evnf::fw::iptables {

namespace {

constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kAck = 0x10;

template <std::size_t N>
bool among(const std::array<std::string_view, N>& names, std::string_view name)
{
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// Their verdict is none, and the packet that they leave is the one that they got.
bool goes_on(std::string_view target)
{
    constexpr std::array<std::string_view, 9> names{"LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "LED", "MARK", "SECMARK", "CLASSIFY"};
    return among(names, target);
}

bool is_known_module(std::string_view name)
{
    constexpr std::array<std::string_view, 13> names{"tcp",   "udp",       "sctp", "icmp", "icmp6",   "icmpv6", "multiport",
                                                     "state", "conntrack", "mac",  "dscp", "iprange", "comment"};
    return among(names, name);
}

/// Options of modules and targets whose value may look like an option.
bool takes_text(std::string_view option)
{
    constexpr std::array<std::string_view, 6> names{"--string", "--hex-string", "--log-prefix", "--nflog-prefix", "--ulog-prefix", "--name"};
    return among(names, option);
}

bool is_option(const Word& word)
{
    return !word.quoted && word.text.size() > 1 && word.text[0] == '-' && (word.text[1] < '0' || word.text[1] > '9');
}

/// Packets whose flags under `mask` are not `wanted`: they differ in the first bit, or only from the second on, …
Alternatives flags_other_than(std::uint8_t mask, std::uint8_t wanted, const Conditions& all)
{
    Alternatives others;
    Conditions equal_so_far = all;
    for (unsigned bit = 1; bit < 0x100; bit <<= 1) {
        if (!(mask & bit)) continue;
        const bool set = wanted & bit;
        auto other = equal_so_far;
        (set ? other.flags_clear : other.flags_set) |= static_cast<std::uint8_t>(bit);
        others.push_back(std::move(other));
        (set ? equal_so_far.flags_set : equal_so_far.flags_clear) |= static_cast<std::uint8_t>(bit);
    }
    return others;
}

class RuleReader {
public:
    RuleReader(const SavedRule& rule, const Scope& scope)
        : rule_{rule}, scope_{scope}, all_{scope.family}, common_{all_}, ports_{all_}, flags_{all_}, icmp_{all_}
    {
    }

    Translation read()
    {
        while (at_ < rule_.words.size()) read_word();
        read_target();
        result_.matches = matches();
        if (remembers_ && result_.verdict == Verdict::none) stays("what it remembers, other rules ask for");
        return std::move(result_);
    }

private:
    using Value = const std::string&;
    using Handler = void (RuleReader::*)(Value value);

    // ------------------------------------------------------------ words

    static const std::map<std::string_view, Handler>& handlers()
    {
        static const std::map<std::string_view, Handler> all{
            {"-s", &RuleReader::source},           {"--source", &RuleReader::source},
            {"--src", &RuleReader::source},        {"-d", &RuleReader::destination},
            {"--destination", &RuleReader::destination}, {"--dst", &RuleReader::destination},
            {"-i", &RuleReader::in_interface},     {"--in-interface", &RuleReader::in_interface},
            {"-o", &RuleReader::out_interface},    {"--out-interface", &RuleReader::out_interface},
            {"-p", &RuleReader::protocol},         {"--protocol", &RuleReader::protocol},
            {"-m", &RuleReader::module},           {"--match", &RuleReader::module},
            {"-j", &RuleReader::jump},             {"--jump", &RuleReader::jump},
            {"-g", &RuleReader::go},               {"--goto", &RuleReader::go},
            {"--sport", &RuleReader::sport},       {"--source-port", &RuleReader::sport},
            {"--dport", &RuleReader::dport},       {"--destination-port", &RuleReader::dport},
            {"--sports", &RuleReader::sport},      {"--source-ports", &RuleReader::sport},
            {"--dports", &RuleReader::dport},      {"--destination-ports", &RuleReader::dport},
            {"--ports", &RuleReader::either_port}, {"--tcp-flags", &RuleReader::tcp_flags},
            {"--icmp-type", &RuleReader::icmp},    {"--icmpv6-type", &RuleReader::icmp},
            {"--state", &RuleReader::states},      {"--ctstate", &RuleReader::states},
            {"--mac-source", &RuleReader::mac},    {"--dscp", &RuleReader::dscp},
            {"--dscp-class", &RuleReader::dscp},   {"--src-range", &RuleReader::source_range},
            {"--dst-range", &RuleReader::destination_range}, {"--comment", &RuleReader::comment},
            {"-c", &RuleReader::counters},         {"--set-counters", &RuleReader::counters},
        };
        return all;
    }

    void read_word()
    {
        const Word& word = rule_.words[at_++];
        if (word.text == "!" && !word.quoted) {
            negated_ = true;
            return;
        }
        option_ = word.text;
        if (!is_option(word))
            leave_out(fmt::format("'{}'", word.text));
        else if (option_ == "--syn" || option_ == "-f" || option_ == "--fragment")
            read_flag();
        else if (const auto handler = handlers().find(option_); handler != handlers().end())
            (this->*handler->second)(value());
        else
            read_unknown();
        negated_ = false;
    }

    void read_flag()
    {
        if (option_ == "--syn")
            add_flags(kFin | kSyn | kRst | kAck, kSyn);
        else if (!negated_)
            fragments_only_ = true;
    }

    const std::string& value()
    {
        if (at_ == rule_.words.size()) throw FileError{rule_.line, fmt::format("{} has no value", option_)};
        return rule_.words[at_++].text;
    }

    void read_unknown()
    {
        const std::string option = option_;
        std::string text;
        if (takes_text(option))
            text = value();
        else
            while (at_ < rule_.words.size() && !is_option(rule_.words[at_]) && rule_.words[at_].text != "!") text = value();
        if (!result_.target.empty())
            target_options_[option] = text;
        else if (!in_unknown_module_)
            leave_out(option);
    }

    void leave_out(const std::string& what) { result_.unmatched += (result_.unmatched.empty() ? "" : ", ") + what; }
    void leave_out_value(Value value) { leave_out(fmt::format("{}{} {}", negated_ ? "! " : "", option_, value)); }

    /// Narrows a set to what the option says, or leaves the option out where that is not understood.
    template <class Set>
    void narrow(Set& set, const std::optional<Set>& said, Value value)
    {
        if (said)
            set = set & (negated_ ? ~*said : *said);
        else
            leave_out_value(value);
    }

    // ------------------------------------------------------------ addresses and interfaces

    template <class Read>
    std::optional<AddressSet> addresses(Value value, Read read_one) const
    {
        std::optional<AddressSet> all;
        for (const auto element : elements_of(value)) {
            const auto some = read_one(element, scope_.family);
            if (!some) return std::nullopt;
            if (!all) all = some;
            for (const auto& [first, last] : some->intervals()) all->add(first, last);
        }
        return all;
    }

    void source(Value value) { narrow(common_.src, addresses(value, network_of), value); }
    void destination(Value value) { narrow(common_.dst, addresses(value, network_of), value); }
    void source_range(Value value) { narrow(common_.src, addresses(value, range_of), value); }
    void destination_range(Value value) { narrow(common_.dst, addresses(value, range_of), value); }

    void in_interface(Value value)
    {
        const bool wildcard = value.ends_with('+');
        if (!scope_.ports) {
            if (wildcard || negated_) return leave_out(fmt::format("{}-i {} (without --port)", negated_ ? "! " : "", value));
            common_.in_ports = names_in_both(common_.in_ports, std::set{value});
            return;
        }
        std::set<std::string> names;
        for (const auto& port : *scope_.ports) {
            const bool fits = wildcard ? port.starts_with(value.substr(0, value.size() - 1)) : port == value;
            if (fits != negated_) names.insert(port);
        }
        if (names != *scope_.ports) common_.in_ports = names_in_both(common_.in_ports, names);
    }

    void out_interface(Value value) { leave_out_value(value); }

    void mac(Value value)
    {
        std::string mac = value;
        for (char& c : mac) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        if (negated_ || mac == "00:00:00:00:00:00") return leave_out_value(value);
        common_.macs = names_in_both(common_.macs, std::set{mac});
    }

    // ------------------------------------------------------------ protocols and their headers

    void protocol(Value value)
    {
        if (value == "all" && !negated_) return;
        const auto number = protocol_of(value);
        narrow(common_.protocols, number ? std::optional{NumberSet::of(kMaxProtocol, *number, *number)} : std::nullopt, value);
    }

    /// "80", "1024:65535", ":1023", "1024:", and lists of these.
    static std::optional<NumberSet> port_set(std::string_view text)
    {
        auto set = NumberSet::none(kMaxPort);
        for (const auto element : elements_of(text)) {
            const auto colon = element.find(':');
            const auto low = element.substr(0, colon);
            const auto high = colon == std::string_view::npos ? low : element.substr(colon + 1);
            const auto first = low.empty() ? 0 : number_of(low, kMaxPort);
            const auto last = high.empty() ? kMaxPort : number_of(high, kMaxPort);
            if (!first || !last || *first > *last || element.empty()) return std::nullopt;
            set.add(*first, *last);
        }
        return set;
    }

    void sport(Value value) { add_port(value, &Conditions::sport); }
    void dport(Value value) { add_port(value, &Conditions::dport); }

    void add_port(Value value, NumberSet Conditions::*port)
    {
        Conditions said = all_;
        narrow(said.*port, port_set(value), value);
        asks_ports_ = true;
        ports_ = ports_ & Alternatives{said};
    }

    void either_port(Value value)
    {
        Conditions source = all_, destination = all_;
        const auto ports = port_set(value);
        narrow(source.sport, ports, value);
        if (!ports) return;
        asks_ports_ = true;
        if (negated_) {
            narrow(source.dport, ports, value);
            ports_ = ports_ & Alternatives{source};
            return;
        }
        narrow(destination.dport, ports, value);
        ports_ = ports_ & Alternatives{source, destination};
    }

    void tcp_flags(Value mask)
    {
        const auto bits = tcp_flags_of(mask);
        const auto& wanted = value();
        const auto set = tcp_flags_of(wanted);
        if (!bits || !set) return leave_out_value(mask + ' ' + wanted);
        add_flags(*bits, *set);
    }

    void add_flags(std::uint8_t mask, std::uint8_t wanted)
    {
        asks_flags_ = true;
        const bool possible = !(wanted & ~mask);
        if (negated_) {
            if (possible) flags_ = flags_ & flags_other_than(mask, wanted, all_);
            return;
        }
        Conditions said = all_;
        said.flags_set = wanted;
        said.flags_clear = static_cast<std::uint8_t>(mask & ~wanted);
        flags_ = possible ? flags_ & Alternatives{said} : Alternatives{};
    }

    void icmp(Value value)
    {
        const auto types = icmp_of(value, scope_.family);
        // The firewall tries the types of a rule one after the other: 255 would be too many.
        if (negated_ && types && !types->is_all()) return leave_out_value(value);
        Conditions said = all_;
        narrow(said.icmp, types, value);
        asks_icmp_ = true;
        icmp_ = icmp_ & Alternatives{said};
    }

    // ------------------------------------------------------------ other matches

    void states(Value value)
    {
        auto set = NumberSet::none(kMaxState);
        for (const auto element : elements_of(value)) {
            constexpr std::array<std::string_view, 4> names{"NEW", "ESTABLISHED", "RELATED", "INVALID"};
            const auto state = static_cast<std::uint32_t>(std::find(names.begin(), names.end(), element) - names.begin());
            if (state > kMaxState) return leave_out_value(value);
            set.add(state, state);
        }
        narrow(common_.states, std::optional{set}, value);
    }

    void dscp(Value value)
    {
        const auto number = dscp_of(value);
        narrow(common_.dscps, number ? std::optional{NumberSet::of(kMaxDscp, *number, *number)} : std::nullopt, value);
    }

    void comment(Value) {}
    void counters(Value) { value(); }

    void module(Value name)
    {
        in_unknown_module_ = !is_known_module(name);
        if (in_unknown_module_) leave_out("-m " + name);
        if (name == "recent") remembers_ = true;
    }

    // ------------------------------------------------------------ the target

    void jump(Value name) { result_.target = name; }
    void go(Value name)
    {
        result_.target = name;
        goes_ = true;
    }

    void read_target()
    {
        const auto& target = result_.target;
        if (target.empty() || goes_on(target))
            result_.verdict = Verdict::none;
        else if (target == "ACCEPT")
            result_.verdict = Verdict::allow;
        else if (target == "DROP")
            result_.verdict = Verdict::drop;
        else if (target == "RETURN")
            result_.verdict = Verdict::leave;
        else if (scope_.table->chain(target))
            result_.verdict = goes_ ? Verdict::go : Verdict::jump;
        else if (target == "REJECT")
            read_reject();
        else
            stays(fmt::format("-j {} is netfilter's", target));
    }

    void stays(const std::string& reason)
    {
        result_.verdict = Verdict::netfilter;
        result_.unsupported = reason;
    }

    void read_reject()
    {
        constexpr std::array<std::string_view, 6> ours{"", "icmp-port-unreachable", "port-unreach", "icmp6-port-unreachable", "tcp-reset", "tcp-rst"};
        const auto& with = target_options_["--reject-with"];
        if (!among(ours, with)) return stays(fmt::format("--reject-with {} is netfilter's", with));
        result_.verdict = Verdict::reject;
    }

    // ------------------------------------------------------------ all together

    template <std::size_t N>
    bool every_protocol(const std::array<std::uint32_t, N>& fit) const
    {
        auto others = common_.protocols;
        for (const auto protocol : fit) others = others & ~NumberSet::of(kMaxProtocol, protocol, protocol);
        return others.empty();
    }

    Alternatives matches()
    {
        Alternatives all{common_};
        if (fragments_only_) stays("fragments are netfilter's");
        if (common_.empty() || fragments_only_) return {};
        const std::array<std::uint32_t, 3> with_ports{IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP};
        const std::array<std::uint32_t, 1> tcp{IPPROTO_TCP}, icmp{scope_.family == Family::v4 ? IPPROTO_ICMP + 0u : IPPROTO_ICMPV6 + 0u};
        apply(all, asks_ports_, ports_, every_protocol(with_ports), "ports of that protocol");
        apply(all, asks_flags_, flags_, every_protocol(tcp), "TCP flags of that protocol");
        apply(all, asks_icmp_, icmp_, every_protocol(icmp), "ICMP types of that protocol");
        return all;
    }

    void apply(Alternatives& all, bool asked, const Alternatives& said, bool possible, const char* what)
    {
        if (!asked) return;
        if (possible)
            all = all & said;
        else
            leave_out(what);
    }

    const SavedRule& rule_;
    const Scope& scope_;
    const Conditions all_;
    std::size_t at_ = 0;
    bool negated_ = false, in_unknown_module_ = false, goes_ = false, fragments_only_ = false, remembers_ = false;
    std::string option_;
    Conditions common_;
    Alternatives ports_, flags_, icmp_;
    bool asks_ports_ = false, asks_flags_ = false, asks_icmp_ = false;
    std::map<std::string, std::string> target_options_;
    Translation result_;
};

} // namespace

Translation read_rule(const SavedRule& rule, const Scope& scope)
{
    return RuleReader{rule, scope}.read();
}

} // namespace evnf::fw::iptables
