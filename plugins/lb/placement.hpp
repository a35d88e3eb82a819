// SPDX-License-Identifier: MIT
/// Which index every backend has and which backend owns which slot: what a generation's maps hold.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/plugin.hpp>
#include <evnf/slots.hpp>

#include "selection.hpp"
#include "settings.hpp"

namespace evnf::lb {

class Placement {
public:
    /// Continues from what the state maps remember, moving as few slots as the settings allow.
    Placement(const Settings& settings, const Maps& maps);

    /// Writes the maps of a new generation, and the state that no live packet uses.
    void fill(const Maps& maps) const;
    /// Makes this what the state maps remember: once the generation is live.
    void save(const Maps& maps) const;

    std::uint32_t index_of(const Service& service, const Backend& backend) const
    {
        return plan_.slots.at(service.full_name(backend));
    }
    /// "service/backend"; empty where the index belongs to no configured backend.
    std::string_view name_of(std::uint32_t index) const;
    /// Slots that the backend owns.
    std::uint32_t slots_of(std::uint32_t index) const;

    /// Elements of lb_slots that the services need.
    static std::uint32_t pages(const Settings& settings);

private:
    void fill_services(const Maps& maps) const;
    void fill_backends(const Maps& maps) const;

    const Settings& settings_;
    Slots::Plan plan_;
    std::vector<Table> tables_; // by service
    std::map<std::uint32_t, std::string_view> names_;
    std::map<std::uint32_t, std::uint32_t> owned_;
};

} // namespace evnf::lb
