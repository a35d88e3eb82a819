// SPDX-License-Identifier: MIT
#include "table.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace evnf::ctl {
namespace {

namespace json = boost::json;

constexpr std::string_view kGap = "  ";
constexpr std::size_t kNarrowest = 8; // text columns of a table that grows are not cut below this
constexpr std::size_t kIndent = 4;     // of a row's further lines

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; } // inside a UTF-8 sequence

std::size_t display_width(std::string_view text)
{
    return text.size() - static_cast<std::size_t>(std::count_if(text.begin(), text.end(), continues));
}

std::string cut(const std::string& text, std::size_t width)
{
    if (display_width(text) <= width) return text;
    std::size_t end = 0;
    for (std::size_t shown = 0; end < text.size(); ++end)
        if (!continues(text[end]) && ++shown == width) break;
    return text.substr(0, end) + "…";
}

std::string printable(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto c = static_cast<unsigned char>(text[i]);
        // C1 control characters are U+0080 to U+009F: 0xc2 and a byte below 0xa0.
        const bool c1 = c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
        out += c < 0x20 || c == 0x7f || c1 ? '?' : text[i];
        if (c1) ++i;
    }
    return out;
}

/// Seconds: how long ago something was, or how long it takes.
bool is_duration(std::string_view key) { return key.ends_with("_s"); }

std::string heading(std::string_view key)
{
    if (is_duration(key)) key.remove_suffix(2);
    std::string text = printable(key);
    std::replace(text.begin(), text.end(), '_', ' ');
    return text;
}

/// 1234567 -> 1,234,567; a sign and a fraction stay as they are.
std::string with_separators(std::string digits)
{
    const std::size_t first = digits.find_first_of("0123456789");
    const std::size_t end = std::min(digits.find_first_not_of("0123456789", first), digits.size());
    for (std::size_t at = end; at > first + 3;) digits.insert(at -= 3, 1, ',');
    return digits;
}

/// A port number is a name, not an amount.
bool is_port_number(std::string_view key) { return key.ends_with("port"); }

/// Of 2026-11-27T09:01:02.123+01:00; the date is in the JSON.
std::string time_of_day(const std::string& moment)
{
    const std::size_t begin = moment.find('T') + 1; // 0 where there is none
    return moment.substr(begin, moment.find_first_of("+-Z", begin) - begin);
}

/// In the largest unit that it is one of: 59 s, 1 m, 23 h, 5 d.
std::string duration(std::uint64_t seconds)
{
    if (seconds < 60) return fmt::format("{} s", seconds);
    if (seconds < 3600) return fmt::format("{} m", seconds / 60);
    if (seconds < 86400) return fmt::format("{} h", seconds / 3600);
    return fmt::format("{} d", seconds / 86400);
}

std::string cell(std::string_view key, const json::value& value)
{
    if (is_duration(key) && value.is_null() && key.starts_with("last_")) return "never";
    if (is_duration(key) && (value.is_uint64() || value.is_int64())) return duration(value.to_number<std::uint64_t>());
    switch (value.kind()) {
    case json::kind::null: return "-";
    case json::kind::bool_: return value.get_bool() ? "yes" : "no";
    case json::kind::string: return key == "time" ? time_of_day(printable(value.get_string())) : printable(value.get_string());
    case json::kind::object: return printable(json::serialize(value));
    case json::kind::array: {
        std::string text;
        for (const json::value& element : value.get_array())
            text += (text.empty() ? "" : ", ") + cell(key, element);
        return text.empty() ? "-" : text;
    }
    default: break;
    }
    const std::string digits = value.is_double()   ? fmt::format("{}", value.get_double())
                               : value.is_uint64() ? fmt::format("{}", value.get_uint64())
                                                   : fmt::format("{}", value.get_int64());
    return is_port_number(key) ? digits : with_separators(digits);
}

bool is_table(const json::value& value)
{
    const json::array* array = value.if_array();
    return array && !array->empty() &&
           std::all_of(array->begin(), array->end(), [](const json::value& row) { return row.is_object(); });
}

struct Column {
    std::string key, title;
    std::vector<std::string> cells; // one a row
    std::size_t width = 0;
    bool numbers = true;
};

std::vector<Column> columns_of(const json::array& rows)
{
    std::vector<Column> columns;
    for (const json::value& row : rows)
        for (const auto& [key, value] : row.get_object())
            if (std::none_of(columns.begin(), columns.end(), [&](const Column& c) { return c.key == key; }))
                columns.push_back({.key = key, .title = heading(key)});
    for (Column& column : columns) {
        column.width = display_width(column.title);
        for (const json::value& row : rows) {
            const json::value* value = row.get_object().if_contains(column.key);
            column.cells.push_back(value ? cell(column.key, *value) : "-");
            column.width = std::max(column.width, display_width(column.cells.back()));
            column.numbers = column.numbers && (!value || value->is_number() || value->is_null());
        }
    }
    return columns;
}

std::size_t total_width(const std::vector<Column>& columns)
{
    std::size_t total = kGap.size() * (columns.size() - 1);
    for (const Column& column : columns) total += column.width;
    return total;
}

/// Narrows the widest text column until the table fits, or no column can be narrowed.
void fit(std::vector<Column>& columns, std::size_t width)
{
    std::size_t total = total_width(columns);
    const auto room = [](const Column& c) { return c.numbers || c.width <= kNarrowest ? 0 : c.width; };
    for (; total > width; --total) {
        const auto widest = std::max_element(columns.begin(), columns.end(),
                                             [&](const auto& a, const auto& b) { return room(a) < room(b); });
        if (room(*widest) == 0) return;
        --widest->width;
    }
}

std::string trimmed(std::string text) { return text.erase(text.find_last_not_of(' ') + 1); }

/// A row: what does not fit into `width` goes on in a further line.
template <class TextOf>
std::string line(const std::vector<Column>& columns, std::size_t width, TextOf text_of)
{
    std::string out, part;
    std::size_t used = 0;
    for (const Column& column : columns) {
        if (used > 0 && used + kGap.size() + column.width > width) {
            out += trimmed(std::exchange(part, std::string(kIndent, ' '))) + '\n';
            used = kIndent;
        } else if (used > 0) {
            part += kGap;
            used += kGap.size();
        }
        const std::string text = cut(text_of(column), column.width);
        const std::string padding(column.width - display_width(text), ' ');
        part += column.numbers ? padding + text : text + padding;
        used += column.width;
    }
    return out + trimmed(part) + '\n';
}

std::string table(const json::array& rows, std::size_t width)
{
    std::vector<Column> columns = columns_of(rows);
    if (columns.empty()) return "";
    for (Column& column : columns) column.width = std::min(column.width, &column == &columns.front() ? width : width - kIndent);
    std::string out = line(columns, width, [](const Column& column) { return column.title; });
    for (std::size_t row = 0; row < rows.size(); ++row)
        out += line(columns, width, [row](const Column& column) { return column.cells[row]; });
    return out;
}

std::string indented(const std::string& text)
{
    std::string out;
    for (std::size_t at = 0, end = 0; at < text.size(); at = end + 1) {
        end = std::min(text.find('\n', at), text.size());
        out += (end > at ? "  " : "") + text.substr(at, end - at) + '\n';
    }
    return out;
}

/// Neighbouring scalars are aligned with each other; tables and objects get a title.
std::string block(const json::object& object, std::size_t width)
{
    std::size_t keys = 0;
    for (const auto& [key, value] : object)
        if (!is_table(value) && !value.is_object()) keys = std::max(keys, display_width(heading(key)));
    std::string out;
    bool after_title = false;
    for (const auto& [key, value] : object) {
        const bool titled = is_table(value) || value.is_object();
        if (!out.empty() && (titled || after_title)) out += '\n';
        if (titled)
            out += heading(key) + '\n' + indented(to_text(value, width - 2));
        else
            out += fmt::format("{:<{}}{}{}\n", heading(key), keys, kGap, cell(key, value));
        after_title = titled;
    }
    return out;
}

} // namespace

std::string GrowingTable::add(const json::array& rows)
{
    if (rows.empty()) return "";
    std::vector<Column> columns = columns_of(rows);
    for (Column& column : columns) column.width = std::max(column.width, widths_[column.key]);
    fit(columns, kTextWidth);
    std::string out;
    if (std::exchange(headed_, true) == false) out = line(columns, total_width(columns), [](const Column& column) { return column.title; });
    for (std::size_t row = 0; row < rows.size(); ++row)
        out += line(columns, total_width(columns), [row](const Column& column) { return column.cells[row]; });
    for (const Column& column : columns) widths_[column.key] = column.width;
    return out;
}

std::string to_text(const json::value& value, std::size_t width)
{
    if (value.is_null()) return "";
    if (value.is_object()) return block(value.get_object(), width);
    if (is_table(value)) return table(value.get_array(), width);
    if (!value.is_array()) return cell("", value) + '\n';
    std::string out;
    for (const json::value& element : value.get_array()) out += cell("", element) + '\n';
    return out;
}

} // namespace evnf::ctl
