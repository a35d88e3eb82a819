// SPDX-License-Identifier: MIT
#include "flow_log_settings.hpp"

#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <utility>

namespace evnf::dpi {

namespace {

using Kind = FlowLogTarget::Kind;

constexpr std::size_t kMaxTargets = 8; // each has a thread
constexpr std::pair<std::string_view, Kind> kSchemes[] = {
    {"unix:", Kind::unix_socket}, {"udp:", Kind::udp},        {"tcp:", Kind::tcp},
    {"ipfix:", Kind::ipfix_udp},  {"ipfix+tcp:", Kind::ipfix_tcp},
};

std::string read_path(const Node& node, std::string_view path, std::size_t longest)
{
    if (!path.starts_with('/')) node.error(fmt::format("'{}' is no absolute path", path));
    else if (path.ends_with('/')) node.error(fmt::format("'{}' names a directory", path));
    else if (path.size() > longest) node.error(fmt::format("a path of more than {} characters", longest));
    return std::string{path};
}

FlowLogTarget read_target(const Node& node)
{
    FlowLogTarget target;
    target.text = node.string();
    const std::string_view text = target.text;
    if (text.empty()) return target; // no string, and reported as that
    const auto scheme = std::find_if(std::begin(kSchemes), std::end(kSchemes),
                                     [&](const auto& candidate) { return text.starts_with(candidate.first); });
    if (scheme == std::end(kSchemes) && !text.starts_with('/')) {
        node.error(fmt::format("'{}' is none of /FILE, unix:/SOCKET, udp:ADDRESS:PORT, tcp:ADDRESS:PORT, "
                               "ipfix:ADDRESS:PORT, ipfix+tcp:ADDRESS:PORT", text));
        return target;
    }
    if (scheme == std::end(kSchemes)) {
        target.path = read_path(node, text, PATH_MAX - 1);
        return target;
    }
    const auto rest = text.substr(scheme->first.size());
    target.kind = scheme->second;
    if (target.kind == Kind::unix_socket) target.path = read_path(node, rest, sizeof sockaddr_un{}.sun_path - 1);
    else if (const auto endpoint = Endpoint::parse(rest)) target.endpoint = *endpoint;
    else node.error(fmt::format("'{}' is no ADDRESS:PORT (IPv6: [ADDRESS]:PORT)", rest));
    return target;
}

} // namespace

std::vector<FlowLogTarget> read_flow_log(const Node& node)
{
    std::vector<FlowLogTarget> targets;
    for (const auto& element : node.list()) {
        auto target = read_target(element);
        if (std::find(targets.begin(), targets.end(), target) != targets.end())
            element.error(fmt::format("'{}' is there twice", target.text));
        else if (targets.size() == kMaxTargets)
            element.error(fmt::format("more than {} targets", kMaxTargets));
        else
            targets.push_back(std::move(target));
    }
    return targets;
}

} // namespace evnf::dpi
