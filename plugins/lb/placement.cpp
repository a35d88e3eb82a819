// SPDX-License-Identifier: MIT
#include "placement.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <random>
#include <set>

#include "lb_shared.h"

namespace evnf::lb {

namespace {

constexpr std::uint32_t pages_of(std::uint32_t slots)
{
    return (slots + LB_PAGE - 1) / LB_PAGE;
}

lb_saved_key saved_key(const std::string& service, std::uint32_t page)
{
    lb_saved_key key{};
    service.copy(key.service, sizeof key.service - 1);
    key.page = page;
    return key;
}

lb_page page_of(const Table& table, std::uint32_t page)
{
    lb_page content;
    std::fill(std::begin(content.backend), std::end(content.backend), LB_NO_BACKEND);
    const auto first = table.begin() + page * LB_PAGE;
    std::copy(first, first + std::min<std::ptrdiff_t>(LB_PAGE, table.end() - first), content.backend);
    return content;
}

/// The table that was committed last; empty where there was none.
Table saved_table(const MapRef& saved, const Service& service)
{
    Table table;
    for (std::uint32_t page = 0; page < pages_of(service.slots); ++page) {
        const auto content = saved.find<lb_page>(saved_key(service.name, page));
        if (!content) break;
        table.insert(table.end(), std::begin(content->backend), std::end(content->backend));
    }
    return table;
}

std::vector<std::string> names_of(const Settings& settings)
{
    std::vector<std::string> names;
    for (const auto& service : settings.services)
        for (const auto& backend : service.backends) names.push_back(service.full_name(backend));
    return names;
}

/// A secret that clients cannot aim by, drawn once: a new one would move every slot's clients.
void draw_hash_key(const MapRef& map)
{
    constexpr std::uint32_t only = 0;
    const auto known = map.find<lb_hash_key>(only);
    if (known && (known->halves[0] || known->halves[1])) return;
    std::random_device random;
    lb_hash_key key;
    for (auto& half : key.halves) half = std::uint64_t{random()} << 32 | random();
    map.update(only, key);
}

} // namespace

Placement::Placement(const Settings& settings, const Maps& maps)
    : settings_{settings}, plan_{Slots::read(maps.get("lb_names")).plan(names_of(settings))}
{
    for (const auto& [name, index] : plan_.slots) names_.emplace(index, name);
    const auto saved = maps.get("lb_saved");
    for (const auto& service : settings.services) {
        std::map<std::string, Share> shares; // by name: the order in the file does not matter
        for (const auto& backend : service.backends)
            shares.emplace(backend.name, Share{static_cast<std::uint16_t>(index_of(service, backend)),
                                               backend.effective_weight()});
        std::vector<Share> list;
        for (const auto& [name, share] : shares) list.push_back(share);
        tables_.push_back(rewrite(saved_table(saved, service), list, service.slots));
        for (const auto backend : tables_.back()) ++owned_[backend];
    }
}

std::uint32_t Placement::pages(const Settings& settings)
{
    std::uint32_t pages = 0;
    for (const auto& service : settings.services) pages += pages_of(service.slots);
    return pages;
}

std::string_view Placement::name_of(std::uint32_t index) const
{
    const auto found = names_.find(index);
    return found == names_.end() ? std::string_view{} : found->second;
}

std::uint32_t Placement::slots_of(std::uint32_t index) const
{
    const auto found = owned_.find(index);
    return found == owned_.end() ? 0 : found->second;
}

void Placement::fill(const Maps& maps) const
{
    const auto counters = maps.get("lb_counters");
    for (const auto index : plan_.fresh) counters.update_per_cpu(index, lb_counters{});
    draw_hash_key(maps.get("lb_hash_key"));
    fill_backends(maps);
    fill_services(maps);
}

void Placement::fill_backends(const Maps& maps) const
{
    const auto map = maps.get("lb_backends");
    for (const auto& service : settings_.services) {
        for (const auto& backend : service.backends) {
            lb_backend entry{};
            entry.address = backend.address.raw;
            entry.port = htons(backend.port);
            entry.down = backend.state == BackendState::down;
            map.update(index_of(service, backend), entry);
        }
    }
}

void Placement::fill_services(const Maps& maps) const
{
    std::vector<std::uint32_t> indices;
    std::vector<lb_page> pages;
    const auto services = maps.get("lb_services"), vips = maps.get("lb_vips");
    for (std::uint32_t i = 0; i < tables_.size(); ++i) {
        const auto& service = settings_.services[i];
        lb_service_key key{};
        key.vip = service.vip.raw;
        key.protocol = service.protocol;
        vips.update(key, i);
        key.port = htons(service.port);
        services.update(key,
                        lb_service{i, static_cast<__u32>(pages.size()), service.slots, service.by_source});
        for (std::uint32_t page = 0; page < pages_of(service.slots); ++page) {
            indices.push_back(static_cast<std::uint32_t>(pages.size()));
            pages.push_back(page_of(tables_[i], page));
        }
    }
    maps.get("lb_slots").update_batch(indices, pages);
}

void Placement::save(const Maps& maps) const
{
    const auto names = maps.get("lb_names"), saved = maps.get("lb_saved");
    Slots::read(names).commit(plan_, names);
    std::set<std::pair<std::string, std::uint32_t>> kept;
    for (std::size_t i = 0; i < tables_.size(); ++i) {
        const auto& service = settings_.services[i];
        for (std::uint32_t page = 0; page < pages_of(service.slots); ++page) {
            saved.update(saved_key(service.name, page), page_of(tables_[i], page));
            kept.emplace(service.name, page);
        }
    }
    std::vector<lb_saved_key> gone;
    saved.for_each<lb_saved_key, lb_page>([&](const lb_saved_key& key, const lb_page&) {
        if (!kept.contains({key.service, key.page})) gone.push_back(key);
    });
    for (const auto& key : gone) saved.erase(key);
}

} // namespace evnf::lb
