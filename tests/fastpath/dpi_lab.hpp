// SPDX-License-Identifier: MIT
/// The flow table of a chain's dpi, through the plugin's own classes.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "../../plugins/dpi/expiry.hpp"
#include "../../plugins/dpi/flow_table.hpp"
#include "chain.hpp"

namespace evnf::test {

/// The maps of the chain's dpi, to look at them with the plugin's own classes.
class DpiMaps final : public evnf::Maps {
public:
    explicit DpiMaps(Chain& chain) : chain_{chain} {}
    evnf::MapRef get(const std::string& name) const override { return chain_.map("dpi", name); }

private:
    Chain& chain_;
};

/// The plugin's own view of the chain's flow table.
class DpiTable {
public:
    explicit DpiTable(Chain& chain, evnf::dpi::Offload offload = {})
        : maps_{chain}, table_{maps_, std::make_shared<evnf::dpi::Apps>(maps_), std::move(offload), 250}
    {
    }
    evnf::dpi::FlowTable* operator->() { return &table_; }
    evnf::dpi::FlowTable& operator*() { return table_; }

private:
    DpiMaps maps_;
    evnf::dpi::FlowTable table_;
};

struct DpiEntry {
    dpi_flow flow;
    dpi_head head;
};

/// What has not ended.
inline std::vector<DpiEntry> entries(Chain& chain)
{
    std::vector<DpiEntry> all;
    DpiTable{chain}->for_each([&](const dpi_flow& flow, dpi_head head) {
        if (!(head & DPI_ENDED)) all.push_back({flow, head});
    });
    return all;
}

} // namespace evnf::test
