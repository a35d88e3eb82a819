// SPDX-License-Identifier: MIT
/// Which kinds of conditions a random test has really tried, so that it cannot pass by trying nothing.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "fw_connections.hpp"

namespace evnf::test {

/// Kinds are "src list", "dst !$set", "dport range", "state new" and so on.
class FwCoverage {
public:
    /// The rule decided: what it asks for was met.
    void met(const FwModelRule& rule);

    /// A packet that was aimed at the rule: where it misses it by one condition only, that was missed.
    void missed(const FwModelRule& rule, const FwDecision& decision, const std::string& port);

    /// Those of the kinds that were never met, or never missed.
    std::vector<std::string> never(const std::vector<std::string>& kinds) const;

private:
    std::map<std::string, unsigned> met_, missed_;
};

} // namespace evnf::test
