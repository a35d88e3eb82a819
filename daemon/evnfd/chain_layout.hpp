// SPDX-License-Identifier: MIT
/// Where each stage of each chain stands in the PROG_ARRAYs, and where packets that leave a chain come back to it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <evnf/packet_shared.h>

#include "settings.hpp"

namespace evnf {

/// A distinct chain; all ports that have it share its programs.
struct Chain {
    std::vector<std::string> stages;
    bool tap = false;                   ///< its programs end copies
    std::vector<std::string> ports;     ///< by ordinal
    std::uint32_t base = 0;             ///< slot of the first stage, in the arrays of both hooks
    bool at_xdp = false, at_tc = false; ///< where it is loaded
    /// By stage, what a packet that leaves there carries: an index into evnf_reentries, less the port's ordinal, or
    /// nothing where no plugin follows or the plugin never leaves.
    std::vector<std::optional<std::uint32_t>> reentries;

    std::uint32_t last() const { return base + static_cast<std::uint32_t>(stages.size()); }
    std::uint32_t ordinal(const std::string& port) const;
};

struct ChainLayout {
    std::vector<Chain> chains;
    std::vector<evnf_reentry> reentries; ///< array evnf_reentries; ports by index

    const Chain& of(const std::string& port) const;
};

/// How the layout depends on what only its caller knows.
struct LayoutInputs {
    std::function<bool(const std::string& instance)> leaves_chain;
    std::function<std::uint32_t(const std::string& port)> port_index;
    std::function<bool(const PortSettings&)> at_xdp, at_tc; ///< the hooks that the port needs
};

/// Throws std::length_error, saying what to do, when the chains do not fit.
ChainLayout lay_out(const Settings& settings, const LayoutInputs& inputs);

} // namespace evnf
