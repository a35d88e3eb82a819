// SPDX-License-Identifier: MIT
/// `evnfctl fw import`: a file of iptables-save in, settings of fw out, and a list of what netfilter must keep.
#pragma once

#include <istream>
#include <string>
#include <vector>

#include "flattener.hpp"

namespace evnf::fw::iptables {

struct ImportOptions {
    std::string file; ///< its name, for people
    Family family = Family::v4;
    NameSet ports;                  ///< eVNF's, where they are known
    std::vector<std::string> local; ///< addresses of the machine itself, as prefixes
    std::size_t most_rules = kMostDecisions;
};

struct Imported {
    std::string settings; ///< YAML
    std::string report;
};

/// Throws FileError.
Imported import_rules(std::istream& in, const ImportOptions& options);

} // namespace evnf::fw::iptables
