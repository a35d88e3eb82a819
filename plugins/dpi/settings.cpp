// SPDX-License-Identifier: MIT
#include "settings.hpp"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>

#include "dpi_workers.h"

namespace evnf::dpi {

namespace {

using std::chrono::hours;
using std::chrono::seconds;

constexpr std::size_t kMaxCustomProtocols = 200; // nDPI 4.2 has room for 230

bool read_port(std::string_view& text, unsigned& port)
{
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (failed != std::errc{} || port < 1 || port > 65535) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

bool is_port_range(std::string_view text)
{
    unsigned low = 0, high = 0;
    if (!read_port(text, low)) return false;
    if (text.empty()) return true;
    if (!text.starts_with('-')) return false;
    text.remove_prefix(1);
    return read_port(text, high) && text.empty() && low <= high;
}

/// "192.0.2.0/24", "192.0.2.1:443"; nDPI 4.2 knows IPv4 only here.
bool is_host(std::string_view text)
{
    if (const auto colon = text.find(':'); colon != std::string_view::npos) {
        std::string_view port = text.substr(colon + 1);
        unsigned number = 0;
        if (!read_port(port, number) || !port.empty()) return false;
        text = text.substr(0, colon);
    }
    std::string why;
    const auto prefix = Prefix::parse(text, why);
    return prefix && prefix->is_v4();
}

std::string element_problem(std::string_view element)
{
    const auto colon = element.find(':');
    const auto kind = element.substr(0, colon);
    const auto value = colon == std::string_view::npos ? std::string_view{} : element.substr(colon + 1);
    if (kind == "tcp" || kind == "udp")
        return is_port_range(value) ? "" : fmt::format("'{}' is no port or range of ports", value);
    if (kind == "ip") return is_host(value) ? "" : fmt::format("'{}' is no IPv4 address or prefix", value);
    if (kind == "host")
        return value.find_first_not_of('"') != std::string_view::npos ? "" : "host: has no name";
    return fmt::format("'{}' is none of tcp:, udp:, ip:, host:", element);
}

std::string trimmed(const std::string& line)
{
    const auto first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos) return "";
    return line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
}

std::string read_protocols(const Node& node)
{
    // As everywhere in the configuration: relative to its file.
    const auto path = (std::filesystem::path{node.problems().file()}.parent_path() / node.string()).string();
    std::ifstream file{path};
    if (!file) {
        node.error(fmt::format("cannot read '{}': {}", path, std::generic_category().message(errno)));
        return "";
    }
    std::string rules, line;
    std::size_t count = 0;
    for (int number = 1; std::getline(file, line); ++number) {
        line = trimmed(line);
        if (line.empty() || line.front() == '#') continue;
        if (const auto problem = protocol_rule_problem(line); !problem.empty())
            node.error(fmt::format("{}:{}: {}", path, number, problem));
        else if (++count == kMaxCustomProtocols + 1)
            node.error(fmt::format("{}:{}: more than {} rules", path, number, kMaxCustomProtocols));
        rules += line + '\n';
    }
    return rules;
}

void read_budget(const Node& node, Settings& settings)
{
    Map map{node};
    if (auto tcp = map.optional("tcp")) settings.budget_tcp = static_cast<std::uint32_t>(tcp->integer(1, 255));
    if (auto udp = map.optional("udp")) settings.budget_udp = static_cast<std::uint32_t>(udp->integer(1, 255));
    map.done();
}

void read_idle_timeout(const Node& node, Settings& settings)
{
    Map map{node};
    if (auto tcp = map.optional("tcp")) settings.idle_tcp = tcp->duration(seconds{1}, hours{24});
    if (auto udp = map.optional("udp")) settings.idle_udp = udp->duration(seconds{1}, hours{24});
    map.done();
}

void read_volume(Map& map, Offload& offload)
{
    constexpr auto kMost = std::uint64_t{1} << 50;
    if (auto bytes = map.optional("min_bytes")) offload.min_bytes = bytes->size(1, kMost);
    if (auto packets = map.optional("min_packets")) offload.min_packets = static_cast<std::uint64_t>(packets->integer(1, INT64_C(1) << 40));
    if (auto rate = map.optional("min_rate")) offload.min_rate = rate->size(1, kMost);
}

/// `known` is made when a name is to be looked up.
void read_offload(const Node& node, const std::function<const Vocabulary&()>& known, Offload& offload)
{
    using Mode = Offload::Mode;
    Map map{node};
    auto mode = map.optional("mode");
    if (mode) offload.mode = mode->one_of<Mode>({{"all", Mode::all}, {"elephants", Mode::elephants}, {"none", Mode::none}});
    if (auto apps = map.optional("apps")) offload.apps = read_names(*apps, "application", known().apps, is_app);
    if (auto categories = map.optional("categories"))
        offload.categories = read_names(*categories, "category", known().categories, is_category);
    read_volume(map, offload);
    if (auto bytes = map.optional("reinspect")) offload.reinspect = bytes->size(10'000, std::uint64_t{1} << 50);
    if (offload.mode != Mode::elephants && (!offload.apps.empty() || !offload.categories.empty() || offload.asks_for_volume()))
        node.error("apps, categories and min_* say what an elephant is: they want mode: elephants");
    map.done();
}

std::vector<Prefix> read_prefixes(const Node& node)
{
    std::vector<Prefix> prefixes;
    for (const auto& one : node.list()) prefixes.push_back(one.prefix());
    if (prefixes.size() > DPI_NEVER_PREFIXES) node.error(fmt::format("more than {} prefixes", DPI_NEVER_PREFIXES));
    return prefixes;
}

} // namespace

std::string protocol_rule_problem(std::string_view rule)
{
    const auto at = rule.rfind('@');
    if (at == std::string_view::npos) return "a rule is WHAT,...@PROTOCOL";
    const auto name = rule.substr(at + 1);
    // Half of the room: a name may stand behind that of another protocol, "TLS.name".
    if (name.empty() || name.size() >= DPI_NAME_SIZE / 2)
        return fmt::format("the name of a protocol has 1 to {} characters", DPI_NAME_SIZE / 2 - 1);
    for (std::string_view rest = rule.substr(0, at);;) {
        const auto comma = rest.find(',');
        if (auto problem = element_problem(rest.substr(0, comma)); !problem.empty()) return problem;
        if (comma == std::string_view::npos) return "";
        rest.remove_prefix(comma + 1);
    }
}

Settings read_settings(const Node& node)
{
    Settings settings;
    Map map{node};
    if (auto budget = map.optional("budget")) read_budget(*budget, settings);
    if (auto workers = map.optional("workers"))
        settings.workers = static_cast<std::uint32_t>(workers->integer(1, DPI_MAX_WORKERS));
    if (auto file = map.optional("protocols_file")) settings.protocols = read_protocols(*file);
    if (auto flows = map.optional("max_flows"))
        settings.max_flows = static_cast<std::uint32_t>(flows->integer(1024, 4'194'304));
    if (auto limit = map.optional("copy_limit")) settings.copy_limit = static_cast<std::uint32_t>(limit->rate(1, 10'000'000));
    if (auto timeout = map.optional("idle_timeout")) read_idle_timeout(*timeout, settings);
    std::optional<Vocabulary> names;
    const auto known = [&]() -> const Vocabulary& {
        if (!names) names = Engine{node.problems().empty() ? settings.protocols : ""}.vocabulary();
        return *names;
    };
    if (auto offload = map.optional("offload")) read_offload(*offload, known, settings.offload);
    if (auto prefixes = map.optional("never_inspect")) settings.never_inspect = read_prefixes(*prefixes);
    if (auto policies = map.optional("policies")) settings.policies = read_policies(*policies, known());
    if (auto targets = map.optional("flow_log")) settings.flow_log = read_flow_log(*targets);
    map.done();
    return settings;
}

} // namespace evnf::dpi
