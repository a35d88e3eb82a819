// SPDX-License-Identifier: MIT
/// Which flows are worth a place in the fast path that no other flow takes: the paper's offloading policy.
#pragma once

#include <evnf/config.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "ndpi_engine.hpp"

namespace evnf::dpi {

/// What a flow has done so far.
struct Volume {
    std::uint64_t packets = 0, bytes = 0;
    std::chrono::milliseconds age{0};
};

struct Offload {
    enum class Mode {
        all,       ///< each flow with a verdict
        elephants, ///< those that are of the applications or categories, and have all of the volume
        none,      ///< no flow: all packets with payload are copied for as long as a flow lives
    };
    Mode mode = Mode::all;
    std::vector<std::string> apps, categories; ///< both empty: any
    std::uint64_t min_bytes = 0, min_packets = 0;
    std::uint64_t min_rate = 0;  ///< bytes a second, over the flow's life, which counts as a second at least
    std::uint64_t reinspect = 0; ///< bytes after which a flow is inspected once more; 0: never

    /// True where it takes a flow that volume decides on.
    bool asks_for_volume() const { return min_bytes || min_packets || min_rate; }
    /// Whether a flow with this verdict is to be offloaded. A guess by ports or addresses is nothing to trust, other
    /// than a rule of protocols_file: then only the volume counts.
    bool takes(dpi_state state, const Label& label, const Volume& volume) const;
};

/// "YouTube" is the application of "TLS.YouTube", as "TLS" and the whole are; in any case of letters.
bool is_app(const std::string& app, const std::string& wanted);
/// "Download" is the category "Download-FileTransfer-FileSharing", as the whole is; in any case of letters.
bool is_category(const std::string& category, const std::string& wanted);

/// A list of names; those that are none of `known`, of this `kind`, are errors.
std::vector<std::string> read_names(const Node& node, const char* kind, const std::vector<std::string>& known,
                                    bool (*is_named)(const std::string& name, const std::string& wanted));

} // namespace evnf::dpi
