// SPDX-License-Identifier: MIT
#include "settings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <net/if.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

namespace evnf {

ConfigError::ConfigError(const std::vector<std::string>& lines)
    : std::runtime_error{fmt::format("{}", fmt::join(lines, "\n"))}
{
}

namespace {

std::filesystem::path absolute_path(const Node& node)
{
    std::filesystem::path path = node.string();
    if (!path.empty() && !path.is_absolute()) node.error("must be an absolute path");
    return path;
}

void read_daemon(const Node& node, Settings& settings)
{
    Map map{node};
    if (auto path = map.optional("control_socket")) {
        settings.control_socket = absolute_path(*path);
        if (settings.control_socket.native().size() >= sizeof(sockaddr_un::sun_path))
            path->error(fmt::format("is longer than the {} bytes of a socket path", sizeof(sockaddr_un::sun_path) - 1));
    }
    if (auto path = map.optional("pin_dir")) settings.pin_dir = absolute_path(*path);
    if (auto value = map.optional("on_stop"))
        settings.on_stop = value->one_of<OnStop>({{"keep", OnStop::keep}, {"detach", OnStop::detach}});
    if (auto value = map.optional("log_level"))
        settings.log_level = value->one_of<spdlog::level::level_enum>({{"error", spdlog::level::err},
                                                                       {"warning", spdlog::level::warn},
                                                                       {"info", spdlog::level::info},
                                                                       {"debug", spdlog::level::debug}});
    // YAML reads `off` as a text.
    if (auto value = map.optional("metrics"); value && value->string() != "off") {
        settings.metrics = Endpoint::parse(value->string());
        if (!settings.metrics) value->error(fmt::format("must be off or ADDRESS:PORT, such as 127.0.0.1:9471 or \"[::1]:9471\", not '{}'", value->string()));
    }
    map.done();
}

bool is_interface_name(const std::string& name)
{
    return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
           name.find_first_of("/: \t\n") == std::string::npos;
}

PortSettings read_port(const Node& node)
{
    PortSettings port;
    Map map{node};
    const Node name = map.required("name");
    if (name.present()) {
        port.name = name.string();
        if (!is_interface_name(port.name)) name.error(fmt::format("'{}' is no name of an interface", port.name));
        if (port.name == "lo") name.error("the loopback interface cannot be a port");
    }
    if (auto hook = map.optional("hook"))
        port.hook = hook->one_of<Hook>(
            {{"auto", Hook::automatic}, {"native", Hook::native}, {"generic", Hook::generic}, {"tc", Hook::tc}});
    if (auto chain = map.optional("chain"))
        for (const Node& stage : chain->list()) port.chain.push_back(stage.string());
    if (auto tap = map.optional("tap")) {
        port.tap = tap->boolean();
        if (port.tap && port.chain.empty()) tap->error("needs a chain: what arrives at a tap goes nowhere else");
    }
    map.done();
    return port;
}

/// The names that a list of maps or scalars gives must differ.
template <class Names>
bool first_time(const Node& node, Names& names, const std::string& name)
{
    const bool first = names.insert(name).second;
    if (!first) node.error(fmt::format("'{}' is there twice", name));
    return first;
}

void check_chain(const Node& node, const PortSettings& port, const std::set<std::string>& instances)
{
    if (port.chain.size() > EVNF_MAX_CHAIN) node.error(fmt::format("has more than {} stages", +EVNF_MAX_CHAIN));
    std::set<std::string> seen;
    const auto stages = node.list();
    for (std::size_t i = 0; i < stages.size(); ++i) {
        const auto& stage = port.chain[i];
        if (!instances.contains(stage))
            stages[i].error(fmt::format("'{}' is not in plugins", stage));
        first_time(stages[i], seen, stage);
    }
}

void read_ports(const Node& node, Settings& settings, const std::set<std::string>& instances)
{
    std::set<std::string> names;
    const auto ports = node.list();
    if (node.present() && ports.empty()) node.error("must have at least one port");
    if (ports.size() > EVNF_MAX_PORTS) node.error(fmt::format("has more than {} ports", +EVNF_MAX_PORTS));
    for (const Node& item : ports) {
        const PortSettings port = read_port(item);
        if (!item.is_map()) continue;
        if (!port.name.empty()) first_time(item, names, port.name);
        if (auto chain = Map{item}.optional("chain")) check_chain(*chain, port, instances);
        settings.ports.push_back(port);
    }
}

void read_wires(const Node& node, Settings& settings)
{
    std::set<std::string> ends, names, taps;
    for (const auto& port : settings.ports) (port.tap ? taps : names).insert(port.name);
    for (const Node& wire : node.list()) {
        const auto pair = wire.list();
        if (!wire.is_list() || pair.size() != 2) {
            wire.error("must be a pair of ports such as [eth0, eth1]");
            continue;
        }
        for (const Node& end : pair) {
            if (taps.contains(end.string())) end.error(fmt::format("'{}' is a tap: it gets copies only", end.string()));
            else if (!names.contains(end.string())) end.error(fmt::format("'{}' is not in ports", end.string()));
            first_time(end, ends, end.string());
        }
        settings.wires.emplace_back(pair[0].string(), pair[1].string());
    }
    for (const auto& name : names)
        if (!ends.contains(name)) node.error(fmt::format("port '{}' has no wire", name));
}

void read_forwarding(const Node& node, Settings& settings)
{
    Map map{node};
    if (auto mode = map.optional("mode"))
        settings.mode = mode->one_of<ForwardingMode>({{"route", ForwardingMode::route}, {"wire", ForwardingMode::wire}});
    const auto wires = map.optional("wires");
    if (settings.mode == ForwardingMode::wire && !wires) node.error("'wires' is missing: mode wire needs pairs of ports");
    if (settings.mode == ForwardingMode::route && wires) wires->error("is for mode wire only");
    if (settings.mode == ForwardingMode::wire && wires) read_wires(*wires, settings);
    map.done();
}

bool is_instance_name(const std::string& name)
{
    return !name.empty() && name.size() < 32 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
        return std::isalnum(c) || c == '_' || c == '-';
    });
}

PluginSettings read_plugin(const std::string& instance, const Node& node)
{
    PluginSettings plugin{instance, instance, std::nullopt, Orphan::keep, node};
    static const std::set<std::string> reserved{"entry", "forwarder", "evnf", "status", "stats", "reload", "confirm",
                                                "detach", "check", "doctor", "trace", "top"};
    if (!is_instance_name(instance)) node.error("a plugin's name is made of at most 31 letters, digits, - and _");
    if (reserved.contains(instance)) node.error("is a name of eVNF's own; choose another and say 'module:'");
    Map map{node};
    if (auto module = map.optional("module")) {
        plugin.module = module->string();
        // Bare names only: plugins come from one directory.
        if (!is_instance_name(plugin.module)) module->error("must be the bare name of a module such as fw");
    }
    if (auto on_error = map.optional("on_error"))
        plugin.on_error = on_error->one_of<OnError>({{"drop", OnError::drop}, {"skip", OnError::skip}});
    if (auto orphan = map.optional("orphan"))
        plugin.orphan = orphan->one_of<Orphan>({{"keep", Orphan::keep}, {"drop", Orphan::drop}});
    if (node.is_map()) {
        YAML::Node own = node.yaml();
        for (const char* key : {"module", "on_error", "orphan"}) own.remove(key);
    }
    return plugin;
}

Settings read_document(const YAML::Node& document, Problems& problems)
{
    Settings settings;
    const Node root{document, "", document.Mark(), problems};
    if (!root.is_map()) {
        root.error("must be a map with the keys daemon, ports, forwarding and plugins");
        return settings;
    }
    Map map{root};
    if (auto node = map.optional("daemon")) read_daemon(*node, settings);
    std::set<std::string> instances;
    if (auto node = map.optional("plugins")) {
        for (const auto& [instance, config] : Map{*node}.entries()) {
            instances.insert(instance);
            settings.plugins.push_back(read_plugin(instance, config));
        }
        if (instances.size() > EVNF_MAX_STAGES - EVNF_STAGE_FIRST_PLUGIN)
            node->error(fmt::format("has more than {} plugins", EVNF_MAX_STAGES - EVNF_STAGE_FIRST_PLUGIN));
    }
    read_ports(map.required("ports"), settings, instances);
    if (auto node = map.optional("forwarding")) read_forwarding(*node, settings);
    map.done();
    return settings;
}

} // namespace

Settings read_settings(const std::string& yaml, Problems& problems)
{
    try {
        return read_document(YAML::Load(yaml), problems);
    } catch (const YAML::Exception& error) {
        problems.error(error.mark, error.msg);
        return {};
    }
}

std::string read_text(Problems& problems)
{
    std::ifstream file{problems.file()};
    std::stringstream text;
    if (file) text << file.rdbuf();
    if (!file || !text) problems.error(YAML::Mark{}, fmt::format("cannot read the configuration: {}", std::strerror(errno)));
    return text.str();
}

Settings read_settings(Problems& problems)
{
    const auto text = read_text(problems);
    return problems.empty() ? read_settings(text, problems) : Settings{};
}

} // namespace evnf
