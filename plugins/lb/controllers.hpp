// SPDX-License-Identifier: MIT
/// From servers' loads to their weights: a round of polls in, a factor for each configured weight out. No clock, no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace evnf::lb {

/// One server of a service. Loads: 1 is fully loaded.
struct FeedbackServer {
    std::uint32_t configured = 100; ///< its weight as configured, not 0

    // What this round's poll gave.
    std::optional<double> answer; ///< not negative
    std::string failure;          ///< why there is no answer

    // What stays from round to round.
    std::optional<double> load; ///< smoothed where the algorithm smooths; nothing when it is not known any more
    unsigned missed = 0;        ///< rounds in a row without an answer
    double factor = 1;          ///< of the configured weight; never 0
    std::string why;            ///< the latest decision in words

    double weight() const { return configured * factor; }
};

using FeedbackServers = std::vector<FeedbackServer>;

/// Without an answer, a load counts for so many rounds more; a lost packet is no news of the server.
inline constexpr unsigned kRoundsHeld = 2;

enum class FeedbackAlgorithm {
    balanced,         ///< by how far a server's smoothed load is from the mean
    dynamic_feedback, ///< the eVNF paper's: in proportion to what is free, in tenths
    cube_root,        ///< Zhang's for LVS: grows while the load is below 0.95
};

/// One round. The servers are those that shall take new connections.
void decide(FeedbackAlgorithm algorithm, FeedbackServers& servers);

} // namespace evnf::lb
