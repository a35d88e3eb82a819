// SPDX-License-Identifier: MIT
/// Reading configuration: a thin layer over yaml-cpp that knows where each value stands, collects
/// every problem instead of stopping at the first, and refuses what nobody asked about.
///
///     Map map{node};
///     rule.name = map.required("name").string();
///     if (auto ports = map.optional("dport")) …
///     map.not_supported("src_mac");
///     map.done();                       // reports unknown keys
///
/// Readers of values report a problem and return a harmless value, so that reading goes on.
#pragma once

#include <yaml-cpp/yaml.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <evnf/address.hpp>

namespace evnf {

/// What is wrong with a configuration, in the order of the file.
class Problems {
public:
    explicit Problems(std::string file) : file_{std::move(file)} {}

    void error(const YAML::Mark& mark, const std::string& text);
    /// Does not refuse the configuration.
    void warning(const YAML::Mark& mark, const std::string& text);

    bool empty() const noexcept { return errors_.empty(); }
    const std::string& file() const noexcept { return file_; }
    /// "FILE:LINE:COLUMN: message" each, by position; line and column count from 1.
    std::vector<std::string> errors() const { return lines(errors_); }
    std::vector<std::string> warnings() const { return lines(warnings_); }

private:
    struct Problem {
        int line, column;
        std::string text;
        auto operator<=>(const Problem&) const = default;
    };
    std::vector<std::string> lines(const std::set<Problem>& problems) const;

    std::string file_;
    std::set<Problem> errors_, warnings_;
};

/// A value of the file. `path` names it in messages ("plugins.fw.rules[3].src").
class Node {
public:
    Node(YAML::Node yaml, std::string path, YAML::Mark mark, Problems& problems)
        : yaml_{std::move(yaml)}, path_{std::move(path)}, mark_{mark}, problems_{&problems}
    {
    }

    bool present() const { return yaml_.IsDefined() && !yaml_.IsNull(); }
    bool is_scalar() const { return yaml_.IsDefined() && yaml_.IsScalar(); }
    bool is_map() const { return yaml_.IsDefined() && yaml_.IsMap(); }
    bool is_list() const { return yaml_.IsDefined() && yaml_.IsSequence(); }
    const YAML::Node& yaml() const noexcept { return yaml_; }
    const std::string& path() const noexcept { return path_; }
    Problems& problems() const noexcept { return *problems_; }

    /// Reports at this value's place: "PATH: text".
    void error(const std::string& text) const;
    void warning(const std::string& text) const;

    std::string string() const;
    bool boolean() const;
    /// A whole number, decimal or 0x…, in [min, max].
    std::int64_t integer(std::int64_t min, std::int64_t max) const;
    /// "250ms", "30s", "5m", "2h".
    std::chrono::milliseconds duration(std::chrono::milliseconds min, std::chrono::milliseconds max) const;
    /// "64kB", "1MB", "2GB" (powers of 1000), or bytes without a unit.
    std::uint64_t size(std::uint64_t min, std::uint64_t max) const;
    /// "125000/s".
    std::uint64_t rate(std::uint64_t min, std::uint64_t max) const;
    Address address() const;
    Prefix prefix() const;
    /// One of the names, by its value.
    template <class T>
    T one_of(const std::vector<std::pair<std::string_view, T>>& choices) const
    {
        std::vector<std::string_view> names;
        for (const auto& [name, value] : choices) names.push_back(name);
        const std::size_t index = choice(names);
        return index < choices.size() ? choices[index].second : choices.front().second;
    }
    /// The elements; a scalar or a map counts as a list of one.
    std::vector<Node> list() const;

private:
    std::size_t choice(const std::vector<std::string_view>& names) const;
    std::optional<std::string> scalar(const char* wanted) const;

    YAML::Node yaml_;
    std::string path_;
    YAML::Mark mark_;
    Problems* problems_;
};

/// A map that remembers which keys were asked for.
class Map {
public:
    /// Reports when `node` is present and no map; then it reads as empty. Reports duplicate keys.
    explicit Map(const Node& node);

    /// The value, absent (and reported) when the key is missing.
    Node required(std::string_view key);
    /// The value where the key is there and not null.
    std::optional<Node> optional(std::string_view key);
    /// Known to the contract, not to this version: present is an error that says so.
    void not_supported(std::string_view key);
    /// Marks a key as read by somebody else.
    void ignore(std::string_view key);
    /// All entries in file order, each marked as read: for maps whose keys are names.
    std::vector<std::pair<std::string, Node>> entries();
    /// Reports every key that nobody asked for, with the nearest known name.
    void done();

    const Node& node() const noexcept { return node_; }

private:
    struct Entry {
        std::string key;
        Node name, value;
    };
    Entry* find(std::string_view key);
    Node child(std::string_view key, const YAML::Node& value, const YAML::Mark& mark) const;

    Node node_;
    std::vector<Entry> entries_;
    std::set<std::string, std::less<>> known_;
};

/// The text of the problem of a key that this version does not offer.
std::string not_supported(std::string_view key);

} // namespace evnf
