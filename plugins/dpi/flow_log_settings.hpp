// SPDX-License-Identifier: MIT
/// The key `flow_log` of the configuration.
#pragma once

#include <evnf/config.hpp>

#include <string>
#include <vector>

#include <evnf/address.hpp>

namespace evnf::dpi {

/// One place that flow records go to.
struct FlowLogTarget {
    enum class Kind { file, unix_socket, udp, tcp, ipfix_udp, ipfix_tcp };

    std::string text; ///< as it was configured
    Kind kind = Kind::file;
    std::string path;  ///< of a file or a Unix socket
    Endpoint endpoint; ///< of the others

    bool operator==(const FlowLogTarget& other) const { return text == other.text; }
};

/// Reads the targets, a list or a single one:
/// `/FILE`, `unix:/SOCKET`, `udp:ADDRESS:PORT`, `tcp:ADDRESS:PORT` (JSON lines), and
/// `ipfix:ADDRESS:PORT` (over UDP), `ipfix+tcp:ADDRESS:PORT`. Problems go to node.problems().
std::vector<FlowLogTarget> read_flow_log(const Node& node);

} // namespace evnf::dpi
