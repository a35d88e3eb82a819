// SPDX-License-Identifier: MIT
#include "set_verbs.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <stdexcept>

namespace evnf::fw {

namespace json = boost::json;

namespace {

using Words = std::vector<std::string>;

/// Prefixes, in one answer, and problems of a file.
constexpr std::size_t kMostListed = 10'000;
constexpr std::size_t kMostProblems = 10;

std::vector<Prefix> read_prefixes(const Words& words)
{
    std::vector<Prefix> prefixes;
    std::string why;
    for (const auto& word : words)
        if (const auto prefix = Prefix::parse(word, why))
            prefixes.push_back(*prefix);
        else
            throw std::runtime_error{fmt::format("'{}' {}", word, why)};
    return prefixes;
}

void change(Live& live, const std::string& name, const std::vector<Prefix>& added, const std::vector<Prefix>& deleted, Host& host)
{
    if (added.empty() && deleted.empty()) return;
    live.sets.change(name, added, deleted, [&] { host.keep_alive(); });
    live.unreachable.reset();
}

json::value add(Live& live, const std::string& name, const Words& words, Host& host)
{
    const auto& set = live.sets.get(name);
    json::array rows;
    std::vector<Prefix> fresh;
    for (const auto& prefix : read_prefixes(words)) {
        const bool known = set.has(prefix) || std::find(fresh.begin(), fresh.end(), prefix) != fresh.end();
        if (!known) fresh.push_back(prefix);
        rows.push_back(json::object{{"set", name}, {"prefix", prefix.text()}, {"result", known ? "is a member already" : "added"}});
    }
    change(live, name, fresh, {}, host);
    return rows;
}

json::value del(Live& live, const std::string& name, const Words& words, Host& host)
{
    const auto& set = live.sets.get(name);
    json::array rows;
    std::set<Prefix> members;
    for (const auto& prefix : read_prefixes(words)) {
        if (!set.has(prefix)) {
            const auto covering = set.covering(prefix);
            throw std::runtime_error{fmt::format("{} is no member of set '{}'{}", prefix.text(), name,
                                                 covering ? fmt::format(", but lies in its member {}", covering->text()) : "")};
        }
        if (members.insert(prefix).second) rows.push_back(json::object{{"set", name}, {"prefix", prefix.text()}, {"result", "deleted"}});
    }
    change(live, name, {}, {members.begin(), members.end()}, host);
    return rows;
}

json::value list(const LiveSets& sets)
{
    json::array rows;
    for (const auto& [name, set] : sets.all())
        rows.push_back(json::object{{"name", name},
                                    {"v4", set->size(true)},
                                    {"v6", set->size(false)},
                                    {"added", set->added().size()},
                                    {"deleted", set->deleted().size()},
                                    {"memory", set->bytes() + sets.tree_bytes(name)}});
    return rows;
}

json::value list(const LiveSet& set)
{
    json::array rows;
    set.for_each([&](const Prefix& prefix) {
        if (rows.size() < kMostListed) rows.push_back(json::object{{"prefix", prefix.text()}, {"from", set.added().contains(prefix) ? "live" : "configuration"}});
    });
    return rows;
}

std::vector<Prefix> read_members(const std::string& file)
{
    std::vector<std::string> problems;
    auto prefixes = read_prefix_file(file, [&](const std::string& problem) {
        if (problems.size() < kMostProblems) problems.push_back(problem);
    });
    if (!problems.empty()) throw std::runtime_error{fmt::format("{}", fmt::join(problems, "\n"))};
    return prefixes;
}

json::value load(Live& live, const std::string& name, const std::string& file, Host& host)
{
    const auto& set = live.sets.get(name);
    const LiveSet wanted{read_members(file)};
    host.keep_alive();
    std::vector<Prefix> members, added, deleted;
    set.for_each([&](const Prefix& prefix) { members.push_back(prefix); });
    std::set_difference(wanted.configured().begin(), wanted.configured().end(), members.begin(), members.end(), std::back_inserter(added));
    std::set_difference(members.begin(), members.end(), wanted.configured().begin(), wanted.configured().end(), std::back_inserter(deleted));
    change(live, name, added, deleted, host);
    return json::object{{"set", name}, {"prefixes", set.size()}, {"added", added.size()}, {"deleted", deleted.size()}};
}

json::value reset(Live& live, const std::string& name, Host& host)
{
    const auto& set = live.sets.get(name);
    const std::vector<Prefix> added{set.deleted().begin(), set.deleted().end()}, deleted{set.added().begin(), set.added().end()};
    change(live, name, added, deleted, host);
    return json::object{{"set", name}, {"prefixes", set.size()}, {"added", added.size()}, {"deleted", deleted.size()}};
}

} // namespace

json::value answer_set(Live& live, const Words& args, Host& host)
{
    const std::string verb = args.empty() ? "" : args[0];
    const Words rest{args.begin() + std::min<std::ptrdiff_t>(2, std::ssize(args)), args.end()};
    if (verb == "list" && args.size() == 1) return list(live.sets);
    if (verb == "list" && args.size() == 2) return list(live.sets.get(args[1]));
    if (verb == "add" && args.size() > 2) return add(live, args[1], rest, host);
    if (verb == "del" && args.size() > 2) return del(live, args[1], rest, host);
    if (verb == "load" && args.size() == 3) return load(live, args[1], args[2], host);
    if (verb == "reset" && args.size() == 2) return reset(live, args[1], host);
    throw std::runtime_error{"sets are asked for and changed by: set list [NAME], set add NAME PREFIX…, set del NAME PREFIX…, set load NAME FILE, set reset NAME"};
}

} // namespace evnf::fw
