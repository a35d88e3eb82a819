// SPDX-License-Identifier: MIT
/// The flow table as the slow path sees it. Entries are changed by dpi_control.bpf.c only.
#pragma once

#include <evnf/bpf.hpp>
#include <evnf/plugin.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "inspector.hpp"

struct dpi_control_bpf;

namespace evnf::dpi {

/// Applications by number. Numbers are given in the order of appearance and kept in the state
/// map dpi_apps: nDPI's own change with its version and its protocols file.
class Apps {
public:
    explicit Apps(MapRef map);

    /// 0, the unknown one, when the table is full.
    std::uint32_t number(const Label& label);
    /// Name and category.
    std::pair<std::string, std::string> name(std::uint32_t number);
    std::size_t size() { return learn(), names_.size(); }

private:
    /// Reads what the map has got since: during a reload the table of the former generation
    /// still gives numbers while the next one is made.
    void learn();
    void remember(const std::string& name, const std::string& category);

    MapRef map_;
    std::vector<std::pair<std::string, std::string>> names_;
    std::map<std::pair<std::string, std::string>, std::uint32_t> numbers_;
};

/// Flows that have ended, of one application.
struct AppTotals {
    std::uint64_t flows = 0, packets = 0, bytes = 0;
};

/// Thread-safe, except for Walk.
class FlowTable {
public:
    /// The maps must outlive the table. Loads dpi_control; throws std::system_error.
    explicit FlowTable(const Maps& maps);
    ~FlowTable();

    /// Writes the verdict into the flow's entry; false when that flow is no more.
    bool classify(const Verdict& conclusion);
    /// Ends a flow as it was read, as one of that application: false, and nothing changed, when
    /// there were packets since.
    bool close(const dpi_key& key, const dpi_flow& flow, const Label& label);

    /// What the entry itself says, without SNI: for flows with a verdict.
    Label label(const dpi_flow& flow) const;
    bool is_alive(const dpi_key& key, std::uint64_t id) const;
    std::map<std::string, AppTotals> ended() const;
    dpi_faults faults() const;
    std::uint32_t capacity() const { return flows_.info().max_entries; }

    using Visit = std::function<void(const dpi_key&, const dpi_flow&)>;
    void for_each(const Visit& visit) const { flows_.for_each<dpi_key, dpi_flow>(visit); }

    /// A pass over the table in turns of bounded length.
    class Walk {
    public:
        /// Visits about `count` entries; true when the pass is over and the next begins anew.
        bool turn(const FlowTable& table, std::uint32_t count, const Visit& visit);

    private:
        std::vector<std::byte> cursor_; // empty: at the beginning
    };

private:
    dpi_answer run(dpi_command command) const;
    std::uint64_t verdict(std::uint64_t id, const Label& label, std::uint32_t state);

    MapRef flows_, totals_, faults_;
    mutable std::mutex mutex_; // of apps_
    mutable Apps apps_;
    dpi_control_bpf* control_;
};

} // namespace evnf::dpi
