// SPDX-License-Identifier: MIT
/// Which index every backend has and which backend owns which slot, in memory and in the maps.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/plugin.hpp>
#include <evnf/slots.hpp>

#include "lb_shared.h"
#include "selection.hpp"
#include "settings.hpp"

namespace evnf::lb {

/// Services are named by their position in the settings, which must outlive this.
class Placement {
public:
    /// Begins with what the state maps remember.
    Placement(const Settings& settings, const Maps& maps);

    /// Shares out the service's slots anew, in memory: without a seed, moving as few as it can. By backend index: how many slots it took
    /// over from others.
    std::map<std::uint32_t, std::uint32_t> share_out(std::size_t service, const std::vector<Share>& shares);

    /// Writes the maps of a new generation.
    void fill(const Maps& maps) const;
    /// Makes this what the state maps remember: once the generation is live.
    void save(const Maps& maps) const;
    /// The service's table of the live generation becomes the one in memory, at once for all packets, and what the state
    /// maps remember follows.
    void swap(std::size_t service, const Maps& maps);

    std::uint32_t index_of(const Service& service, const Backend& backend) const
    {
        return plan_.slots.at(service.full_name(backend));
    }
    /// Indices that no backend had before.
    const std::vector<std::uint32_t>& fresh() const { return plan_.fresh; }
    /// "service/backend"; empty where the index belongs to no configured backend.
    std::string_view name_of(std::uint32_t index) const;
    /// Slots that the backend owns.
    std::uint32_t slots_of(std::uint32_t index) const { return owned_.at(index); }

    /// Elements of lb_slots that the services need.
    static std::uint32_t pages(const Settings& settings);

private:
    /// A service's table and where it is: the second of its two ranges of pages follows the first.
    struct Home {
        Table table;
        std::uint32_t first_page = 0;
        bool second = false; ///< the live range

        std::uint32_t live_page() const;
    };
    Table rewritten(std::size_t service, const std::vector<Share>& shares) const;
    void write(const Home& home, const MapRef& slots) const;
    void fill_servers(const Service& service, const MapRef& servers) const;
    void fill_pool(const Maps& maps) const;
    void save(std::size_t service, const MapRef& saved) const;

    const Settings& settings_;
    Slots::Plan plan_;
    std::vector<Home> homes_; // by service
    std::map<std::uint32_t, std::string_view> names_;
    std::vector<std::uint32_t> owned_; // by backend index
};

} // namespace evnf::lb
