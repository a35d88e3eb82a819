// SPDX-License-Identifier: MIT
/// The plugin's part of the configuration.
#pragma once

#include <evnf/config.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "flow_log_settings.hpp"
#include "offload.hpp"
#include "policies.hpp"

namespace evnf::dpi {

struct Settings {
    std::uint32_t budget_tcp = 16; ///< packets with payload that are inspected per flow
    std::uint32_t budget_udp = 8;  ///< also of every other protocol that is not TCP
    std::uint32_t workers = 1;     ///< threads of the slow path, with a ring and a detection module each
    std::uint32_t max_flows = 262144;
    std::chrono::milliseconds idle_tcp = std::chrono::seconds{300};
    std::chrono::milliseconds idle_udp = std::chrono::seconds{60};
    std::uint32_t copy_limit = 200'000; ///< copies a second on each CPU: about a third of what one worker inspects
    Offload offload;
    std::vector<Policy> policies;
    std::vector<Prefix> never_inspect;
    std::vector<FlowLogTarget> flow_log;
    std::string protocols; ///< the rules of protocols_file: one a line, without comments
};

/// Reads `plugins.<instance>`; problems go to node.problems(). Names of applications are looked up in an engine with the custom protocols.
Settings read_settings(const Node& node);

/// What is wrong with one rule of a protocols file ("tcp:81,udp:5061-5062@SIP"); empty: nothing.
/// nDPI itself skips or, worse, half reads what it does not understand.
std::string protocol_rule_problem(std::string_view rule);

} // namespace evnf::dpi
