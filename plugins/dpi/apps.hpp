// SPDX-License-Identifier: MIT
/// Applications by number, and what became of their flows.
#pragma once

#include <evnf/mapped_array.hpp>
#include <evnf/plugin.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "ndpi_engine.hpp"

namespace evnf::dpi {

/// Flows that have ended, of one application.
struct AppTotals {
    std::uint64_t flows = 0, packets = 0, bytes = 0;

    AppTotals& operator+=(const AppTotals& other)
    {
        flows += other.flows, packets += other.packets, bytes += other.bytes;
        return *this;
    }
};

/// Numbers are given in the order of appearance and kept in the state map dpi_apps: nDPI's own change with its version
/// and its protocols file. Thread-safe.
class Apps {
public:
    /// Called with each number before anybody else learns of it, on any thread: `tell` must be thread-safe.
    using Tell = std::function<void(std::uint32_t number, const std::string& app, const std::string& category)>;

    explicit Apps(const Maps& maps, Tell tell = {});

    /// 0, the unknown one, when the table is full.
    std::uint32_t number(const Label& label);
    /// Name and category.
    std::pair<std::string, std::string> name(std::uint32_t number) const;

    /// A flow has ended.
    void add(std::uint32_t number, std::uint64_t packets, std::uint64_t bytes);
    /// By name and category: of the flows that have ended.
    std::map<std::pair<std::string, std::string>, AppTotals> ended() const;
    /// Calls `tell` for all that are known by now.
    void tell_all() const;

private:
    /// Reads what the map has got since: during a reload the one of the former generation
    /// still gives numbers while the next one is made.
    void learn() const;
    void remember(const std::string& name, const std::string& category) const;

    MapRef map_;
    MappedArray<dpi_totals> totals_;
    Tell tell_;
    mutable std::mutex mutex_;
    mutable std::vector<std::pair<std::string, std::string>> names_;
    mutable std::map<std::pair<std::string, std::string>, std::uint32_t> numbers_;
};

} // namespace evnf::dpi
