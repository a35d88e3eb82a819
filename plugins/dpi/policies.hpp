// SPDX-License-Identifier: MIT
/// What is done with flows whose application is known: `policies`.
#pragma once

#include <evnf/config.hpp>
#include <evnf/plugin.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ndpi_engine.hpp"

namespace evnf::dpi {

struct Policy {
    std::vector<std::string> apps, categories;
    std::uint64_t risks = 0; ///< nDPI's bits
    dpi_action action = DPI_ALLOW;
    std::uint8_t dscp = 0;
    std::string text; ///< "app BitTorrent: drop"
};

/// The list `policies`; names that nDPI does not know are errors.
std::vector<Policy> read_policies(const Node& node, const Vocabulary& known);

/// What a policy was applied to.
struct Policed {
    std::uint64_t packets = 0, bytes = 0;
};

/// The policies of one generation, in the maps of its fast path.
class Policies {
public:
    /// The maps must outlive this. Writes all but the applications, which tell() tells one by one.
    Policies(const Maps& maps, std::vector<Policy> policies);

    /// Says which policy an application has. Thread-safe.
    void tell(std::uint32_t number, const std::string& app, const std::string& category) const;

    /// The text of the policy that a flow has; empty where none matches.
    std::string text_for(const std::string& app, const std::string& category, std::uint64_t risks) const;

    /// Counts of policies that were in force before go on; of equal text.
    void continue_from(const Policies& former);
    /// In the order in which they are asked.
    std::vector<std::pair<std::string, Policed>> counts() const;

private:
    MapRef of_app_, policed_;
    std::vector<Policy> policies_;
    std::map<std::string, Policed> before_;
};

} // namespace evnf::dpi
