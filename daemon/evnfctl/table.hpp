// SPDX-License-Identifier: MIT
/// JSON for people: whatever the daemon or a plugin answers, as aligned text.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <map>
#include <string>

namespace evnf::ctl {

inline constexpr std::size_t kTextWidth = 100;

/// An array of objects becomes a table whose columns are the keys in the order they first appear.
/// An object becomes "key  value" lines, and a titled table for each array of objects in it.
/// Where a table does not fit into `width`, each row takes several lines; only a text that is longer than a line is cut,
/// with …. Control characters become '?': some
/// texts come from packets, and a terminal must not obey them.
std::string to_text(const boost::json::value& value, std::size_t width = kTextWidth);

/// A table whose rows come bit by bit, a line each: a heading once, and columns that keep their width and only ever grow.
/// The widest text columns are cut with … until it fits into kTextWidth.
class GrowingTable {
public:
    /// The text of these rows, objects all.
    std::string add(const boost::json::array& rows);

private:
    std::map<std::string, std::size_t> widths_; ///< by key
    bool headed_ = false;
};

} // namespace evnf::ctl
