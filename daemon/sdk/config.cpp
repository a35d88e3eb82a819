// SPDX-License-Identifier: MIT
#include <evnf/config.hpp>

#include <algorithm>
#include <charconv>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace evnf {

void Problems::error(const YAML::Mark& mark, const std::string& text)
{
    errors_.insert({mark.line, mark.column, text});
}

void Problems::warning(const YAML::Mark& mark, const std::string& text)
{
    warnings_.insert({mark.line, mark.column, text});
}

std::vector<std::string> Problems::lines(const std::set<Problem>& problems) const
{
    std::vector<std::string> lines;
    for (const auto& problem : problems)
        lines.push_back(fmt::format("{}:{}:{}: {}", file_, problem.line + 1, problem.column + 1, problem.text));
    return lines;
}

namespace {

/// Edits that turn one word into the other (Levenshtein).
std::size_t distance(std::string_view a, std::string_view b)
{
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, change}));
        }
    }
    return row.back();
}

template <class Names>
std::string nearest(std::string_view word, const Names& names)
{
    std::string_view best;
    std::size_t least = word.size() / 3 + 2; // two letters exchanged are two edits
    for (std::string_view name : names)
        if (const auto edits = distance(word, name); edits < least) best = name, least = edits;
    return best.empty() ? "" : fmt::format(" (did you mean '{}'?)", best);
}

/// Splits "250ms" into 250 and "ms"; nothing where it does not begin with a whole number.
std::optional<std::pair<std::uint64_t, std::string_view>> number_and_unit(std::string_view text)
{
    std::uint64_t number = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failed != std::errc{}) return std::nullopt;
    return std::pair{number, text.substr(static_cast<std::size_t>(end - text.data()))};
}

} // namespace

std::string not_supported(std::string_view key)
{
    return fmt::format("not supported by this version: {}", key);
}

void Node::error(const std::string& text) const
{
    problems_->error(mark_, path_.empty() ? text : fmt::format("{}: {}", path_, text));
}

void Node::warning(const std::string& text) const
{
    problems_->warning(mark_, path_.empty() ? text : fmt::format("{}: {}", path_, text));
}

std::optional<std::string> Node::scalar(const char* wanted) const
{
    if (is_scalar()) return yaml_.Scalar();
    if (yaml_.IsDefined()) error(fmt::format("must be {}", wanted));
    return std::nullopt;
}

std::string Node::string() const
{
    const auto text = scalar("a text");
    if (text && text->empty()) error("must not be empty");
    return text.value_or("");
}

bool Node::boolean() const
{
    const auto text = scalar("true or false");
    if (text && *text != "true" && *text != "false") error(fmt::format("must be true or false, not '{}'", *text));
    return text == "true";
}

std::int64_t Node::integer(std::int64_t min, std::int64_t max) const
{
    const auto text = scalar("a whole number");
    if (!text) return min;
    const bool hexadecimal = text->starts_with("0x");
    const char* begin = text->data() + (hexadecimal ? 2 : 0);
    const char* end = text->data() + text->size();
    std::int64_t value = 0;
    const auto [stop, failed] = std::from_chars(begin, end, value, hexadecimal ? 16 : 10);
    if (failed != std::errc{} || stop != end || value < min || value > max) {
        error(fmt::format("must be a whole number from {} to {}, not '{}'", min, max, *text));
        return min;
    }
    return value;
}

std::chrono::milliseconds Node::duration(std::chrono::milliseconds min, std::chrono::milliseconds max) const
{
    static const std::vector<std::pair<std::string_view, std::int64_t>> units{
        {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
    const auto text = scalar("a time such as 500ms, 30s, 5m or 2h");
    if (!text) return min;
    if (const auto parts = number_and_unit(*text)) {
        for (const auto& [unit, milliseconds] : units) {
            if (parts->second != unit) continue;
            if (parts->first > static_cast<std::uint64_t>(max.count() / milliseconds)) break;
            const std::chrono::milliseconds value{static_cast<std::int64_t>(parts->first) * milliseconds};
            if (value < min) break;
            return value;
        }
    }
    error(fmt::format("must be a time from {}ms to {}s such as 500ms, 30s, 5m or 2h, not '{}'", min.count(),
                      max.count() / 1000, *text));
    return min;
}

std::uint64_t Node::size(std::uint64_t min, std::uint64_t max) const
{
    static const std::vector<std::pair<std::string_view, std::uint64_t>> units{
        {"", 1}, {"kB", 1000}, {"MB", 1'000'000}, {"GB", 1'000'000'000}};
    const auto text = scalar("a size such as 64kB, 1MB or 2GB");
    if (!text) return min;
    if (const auto parts = number_and_unit(*text)) {
        for (const auto& [unit, bytes] : units) {
            if (parts->second != unit) continue;
            if (parts->first > max / bytes || parts->first * bytes < min) break;
            return parts->first * bytes;
        }
    }
    error(fmt::format("must be a size from {} to {} bytes such as 64kB, 1MB or 2GB, not '{}'", min, max, *text));
    return min;
}

std::uint64_t Node::rate(std::uint64_t min, std::uint64_t max) const
{
    const auto text = scalar("a rate such as 1000/s");
    if (!text) return min;
    const auto parts = number_and_unit(*text);
    if (parts && parts->second == "/s" && parts->first >= min && parts->first <= max) return parts->first;
    error(fmt::format("must be a rate from {}/s to {}/s, not '{}'", min, max, *text));
    return min;
}

Address Node::address() const
{
    const auto text = scalar("an IPv4 or IPv6 address");
    if (!text) return {};
    const auto address = Address::parse(*text);
    if (!address) error(fmt::format("'{}' is no IPv4 or IPv6 address", *text));
    return address.value_or(Address{});
}

Prefix Node::prefix() const
{
    const auto text = scalar("an address or a prefix such as 10.0.0.0/8");
    if (!text) return {};
    std::string why;
    const auto prefix = Prefix::parse(*text, why);
    if (!prefix) error(fmt::format("'{}' {}", *text, why));
    return prefix.value_or(Prefix{});
}

std::vector<Node> Node::list() const
{
    if (!present()) return {};
    if (!is_list()) return {*this};
    std::vector<Node> nodes;
    for (std::size_t i = 0; i < yaml_.size(); ++i)
        nodes.emplace_back(yaml_[i], fmt::format("{}[{}]", path_, i), yaml_[i].Mark(), *problems_);
    return nodes;
}

std::size_t Node::choice(const std::vector<std::string_view>& names) const
{
    const auto wanted = fmt::format("one of {}", fmt::join(names, ", "));
    const auto text = scalar(wanted.c_str());
    if (!text) return names.size();
    const auto found = std::find(names.begin(), names.end(), *text);
    if (found == names.end()) error(fmt::format("must be {}, not '{}'{}", wanted, *text, nearest(*text, names)));
    return static_cast<std::size_t>(found - names.begin());
}

Map::Map(const Node& node) : node_{node}
{
    if (!node.present()) return;
    if (!node.is_map()) {
        node.error("must be a map of keys and values");
        return;
    }
    for (const auto& pair : node.yaml()) {
        if (!pair.first.IsScalar()) {
            Node{pair.first, node.path(), pair.first.Mark(), node.problems()}.error("has a key that is no text");
            continue;
        }
        const auto key = pair.first.Scalar();
        Node name = child(key, pair.first, pair.first.Mark());
        if (find(key)) name.error("is there twice");
        entries_.push_back({key, name, child(key, pair.second, pair.second.IsNull() ? pair.first.Mark() : pair.second.Mark())});
    }
}

Node Map::child(std::string_view key, const YAML::Node& value, const YAML::Mark& mark) const
{
    auto path = node_.path().empty() ? std::string{key} : fmt::format("{}.{}", node_.path(), key);
    return {value, std::move(path), mark, node_.problems()};
}

Map::Entry* Map::find(std::string_view key)
{
    const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
    return found == entries_.end() ? nullptr : &*found;
}

Node Map::required(std::string_view key)
{
    if (auto value = optional(key)) return *value;
    // A map that is itself missing has been reported already.
    if (node_.is_map()) node_.error(fmt::format("'{}' is missing", key));
    return {YAML::Node{YAML::NodeType::Undefined}, std::string{key}, YAML::Mark::null_mark(), node_.problems()};
}

std::optional<Node> Map::optional(std::string_view key)
{
    known_.emplace(key);
    const Entry* entry = find(key);
    if (!entry || !entry->value.present()) return std::nullopt;
    return entry->value;
}

void Map::not_supported(std::string_view key)
{
    known_.emplace(key);
    if (const Entry* entry = find(key)) entry->name.problems().error(entry->name.yaml().Mark(), evnf::not_supported(entry->name.path()));
}

void Map::ignore(std::string_view key)
{
    known_.emplace(key);
}

std::vector<std::pair<std::string, Node>> Map::entries()
{
    std::vector<std::pair<std::string, Node>> all;
    for (const auto& entry : entries_) {
        known_.insert(entry.key);
        all.emplace_back(entry.key, entry.value);
    }
    return all;
}

void Map::done()
{
    for (const auto& entry : entries_)
        if (!known_.contains(entry.key))
            entry.name.error(fmt::format("unknown key{}", nearest(entry.key, known_)));
}

} // namespace evnf
