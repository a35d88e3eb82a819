// SPDX-License-Identifier: MIT
#include "importer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "flattener.hpp"
#include "other_tables.hpp"
#include "save_file.hpp"
#include "settings_writer.hpp"

namespace evnf::fw::iptables {

namespace {

const Table& filter_of(const std::vector<Table>& tables)
{
    const auto found = std::find_if(tables.begin(), tables.end(), [](const Table& table) { return table.name == "filter"; });
    if (found == tables.end()) throw FileError{0, "has no table filter"};
    return *found;
}

/// Tells people what was done, and what netfilter must go on doing.
class Report {
public:
    Report(const ImportOptions& options, const Flattened& flattened, std::size_t written)
        : options_{options}, flattened_{flattened}, written_{written}
    {
    }

    std::string text(const std::vector<Table>& tables)
    {
        std::string kept;
        for (const auto& table : tables)
            for (const auto& chain : table.chains)
                for (const auto& rule : chain.rules)
                    if (const auto why = reason(table, chain, rule); !why.empty())
                        kept += fmt::format("{}:{}: {}  # {}\n", options_.file, rule.line, one_line(rule.text), one_line(why));
        if (!kept.empty()) kept = "what stays in netfilter:\n" + kept;
        return fmt::format("{}{}{}", summary(), kept, hint());
    }

private:
    /// Why the rule stays in netfilter; empty where it does not.
    std::string reason(const Table& table, const Chain& chain, const SavedRule& rule)
    {
        if (table.name != "filter") return fmt::format("table {}{}", table.name, and_all_behind(rule));
        if (!flattened_.chains.contains(&chain)) return chain.policy == "-" ? "FORWARD does not lead to it" : fmt::format("chain {}", chain.name);
        ++all_;
        const auto stays = flattened_.stays.find(&rule);
        if (stays != flattened_.stays.end()) return fmt::format("{}{}", stays->second, and_all_behind(rule));
        if (!flattened_.reached.contains(&rule)) return "is behind what stays, or is never reached";
        ++offloaded_;
        return "";
    }

    std::string_view and_all_behind(const SavedRule& rule) const
    {
        const bool ends = !flattened_.complete && flattened_.decisions.back().rule == &rule;
        return ends ? "; any packet may match, so that all behind it stays, too" : "";
    }

    std::string summary() const
    {
        return fmt::format("{}: {} of {} rules of FORWARD and its chains are offloaded, as {} rules of eVNF\n", options_.file, offloaded_, all_, written_);
    }

    std::string_view hint() const
    {
        if (!options_.local.empty()) return "";
        return "note: fw judges packets to this machine itself, too: name its addresses with --local, or put a rule for them first\n";
    }

    const ImportOptions& options_;
    const Flattened& flattened_;
    const std::size_t written_;
    std::size_t all_ = 0, offloaded_ = 0;
};

} // namespace

Imported import_rules(std::istream& in, const ImportOptions& options)
{
    const auto tables = read_save_file(in);
    const Scope scope{options.family, &filter_of(tables), options.ports};
    auto flattened = flatten(scope, options.most_rules);
    keep_for_other_tables(flattened, tables, scope);
    auto settings = write_settings(flattened, scope, options.file, options.local);
    auto report = Report{options, flattened, settings.rules}.text(tables);
    return {std::move(settings.yaml), std::move(report)};
}

} // namespace evnf::fw::iptables
