// SPDX-License-Identifier: MIT
/// The format of iptables-save and ip6tables-save: text in, tables of chains of rules out. Knows no match and no target.
#pragma once

#include <istream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace evnf::fw::iptables {

/// Something in the file that is not iptables-save's format; `line` is 0 where it is the file as a whole.
struct FileError : std::runtime_error {
    FileError(std::size_t number, const std::string& message) : std::runtime_error{message}, line{number} {}
    std::size_t line;
};

struct Word {
    std::string text;
    bool quoted = false; ///< a quoted word is never an option
};

struct SavedRule {
    std::size_t line = 0;
    std::string text; ///< as it stands in the file, without its counters
    std::string chain;
    std::size_t number = 0;  ///< in its chain, from 1, as `iptables -L --line-numbers` shows it
    std::vector<Word> words; ///< behind "-A CHAIN"
};

struct Chain {
    std::string name;
    std::string policy; ///< ACCEPT or DROP, and "-" of a user's chain
    std::vector<SavedRule> rules;
};

struct Table {
    std::string name;
    std::vector<Chain> chains; ///< in the file's order

    /// Null: no such chain.
    const Chain* chain(std::string_view wanted) const;
};

/// Reads all tables of a file. Throws FileError.
std::vector<Table> read_save_file(std::istream& in);

} // namespace evnf::fw::iptables
