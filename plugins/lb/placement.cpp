// SPDX-License-Identifier: MIT
#include "placement.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <random>
#include <utility>

#include "rendezvous.hpp"

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

/// By address: services may share one.
std::map<Address, lb_vip> vips_of(const std::vector<Service>& services)
{
    std::map<Address, lb_vip> vips;
    for (const auto& service : services) {
        auto& vip = vips[service.vip];
        (service.protocol == IPPROTO_TCP ? vip.tcp : vip.udp) = 1;
        vip.local = service.mode == Mode::local;
    }
    return vips;
}

/// A secret that clients cannot aim by, drawn once: a new one would move every slot's clients.
lb_hash_key drawn_key(const MapRef& map)
{
    constexpr std::uint32_t only = 0;
    const auto known = map.find<lb_hash_key>(only);
    if (known && (known->halves[0] || known->halves[1])) return *known;
    std::random_device random;
    lb_hash_key key;
    for (auto& half : key.halves) half = std::uint64_t{random()} << 32 | random();
    map.update(only, key);
    return key;
}

} // namespace

Placement::Placement(const Settings& settings, const Maps& maps)
    : settings_{settings}, plan_{Slots::read(maps.get("lb_names")).plan(names_of(settings))}, owned_(LB_MAX_BACKENDS)
{
    for (const auto& [name, index] : plan_.slots) names_.emplace(index, name);
    std::uint32_t page = 0;
    const auto saved = maps.get("lb_saved");
    for (const auto& service : settings.services) {
        homes_.push_back({saved_table(saved, service), page});
        page += 2 * pages_of(service.slots);
    }
}

std::uint32_t Placement::pages(const Settings& settings)
{
    std::uint32_t pages = 0;
    for (const auto& service : settings.services) pages += 2 * pages_of(service.slots);
    return pages;
}

std::uint32_t Placement::Home::live_page() const
{
    return first_page + (second ? pages_of(static_cast<std::uint32_t>(table.size())) : 0);
}

std::string_view Placement::name_of(std::uint32_t index) const
{
    const auto found = names_.find(index);
    return found == names_.end() ? std::string_view{} : found->second;
}

Table Placement::rewritten(std::size_t service, const std::vector<Share>& shares) const
{
    const auto slots = settings_.services[service].slots;
    if (settings_.seed.empty()) return rewrite(homes_[service].table, shares, slots);
    std::vector<NamedShare> named;
    for (const auto& share : shares) named.push_back({name_of(share.backend), share});
    return rendezvous(key_of(settings_.seed), named, slots);
}

std::map<std::uint32_t, std::uint32_t> Placement::share_out(std::size_t service, const std::vector<Share>& shares)
{
    auto& table = homes_[service].table;
    const Table before = std::exchange(table, rewritten(service, shares));
    for (const auto& share : shares) owned_[share.backend] = 0;
    std::map<std::uint32_t, std::uint32_t> moved;
    for (std::size_t slot = 0; slot < table.size(); ++slot) {
        if (table[slot] == LB_NO_BACKEND) continue;
        ++owned_[table[slot]];
        if (slot < before.size() && before[slot] != LB_NO_BACKEND && before[slot] != table[slot]) ++moved[table[slot]];
    }
    return moved;
}

void Placement::fill(const Maps& maps) const
{
    const auto drawn = drawn_key(maps.get("lb_hash_key")); // the openings' too, whatever the services'
    const auto key = settings_.seed.empty() ? drawn : key_of(settings_.seed);
    const auto services = maps.get("lb_services"), vips = maps.get("lb_vips"), slots = maps.get("lb_slots"),
               tables = maps.get("lb_tables"), servers = maps.get("lb_servers");
    for (std::uint32_t i = 0; i < homes_.size(); ++i) {
        const auto& service = settings_.services[i];
        write(homes_[i], slots);
        tables.update(i, homes_[i].live_page());
        lb_service_key place{};
        place.vip = service.vip.raw;
        place.protocol = service.protocol;
        place.port = htons(service.port);
        services.update(place, lb_service{i, service.slots, service.by_source, service.mode == Mode::fullnat,
                                          service.mode == Mode::local, {}, key});
        if (service.adopt) fill_servers(service, servers);
    }
    for (const auto& [address, vip] : vips_of(settings_.services)) vips.update(address.raw, vip);
    fill_pool(maps);
}

void Placement::fill_servers(const Service& service, const MapRef& servers) const
{
    for (const auto& backend : service.backends) {
        lb_service_key sends_from{};
        sends_from.vip = backend.address.raw;
        sends_from.port = htons(backend.port);
        sends_from.protocol = service.protocol;
        lb_server server{};
        server.vip = service.vip.raw;
        server.port = htons(service.port);
        server.backend = static_cast<std::uint16_t>(index_of(service, backend));
        servers.update(sends_from, server);
    }
}

void Placement::write(const Home& home, const MapRef& slots) const
{
    std::vector<std::uint32_t> indices;
    std::vector<lb_page> pages;
    for (std::uint32_t page = 0; page < pages_of(static_cast<std::uint32_t>(home.table.size())); ++page) {
        indices.push_back(home.live_page() + page);
        pages.push_back(page_of(home.table, page));
    }
    if (!pages.empty()) slots.update_batch(indices, pages);
}

/// A packet that still reads the table before last, as the spare is written over, finds an owner of then or of now: every
/// page at every time has only owners of this service.
void Placement::swap(std::size_t service, const Maps& maps)
{
    auto spare = homes_[service];
    spare.second = !spare.second;
    write(spare, maps.get("lb_slots"));
    maps.get("lb_tables").update(static_cast<std::uint32_t>(service), spare.live_page());
    homes_[service] = std::move(spare);
    save(service, maps.get("lb_saved"));
}

void Placement::save(std::size_t service, const MapRef& saved) const
{
    const auto& table = homes_[service].table;
    for (std::uint32_t page = 0; page < pages_of(static_cast<std::uint32_t>(table.size())); ++page)
        saved.update(saved_key(settings_.services[service].name, page), page_of(table, page));
}

void Placement::fill_pool(const Maps& maps) const
{
    const auto pool = maps.get("lb_pool");
    for (std::uint32_t i = 0; i < settings_.nat_pool.size(); ++i) pool.update(i, settings_.nat_pool[i].raw);
}

void Placement::save(const Maps& maps) const
{
    const auto names = maps.get("lb_names"), saved = maps.get("lb_saved");
    Slots::read(names).commit(plan_, names);
    std::map<std::string_view, std::uint32_t> pages;
    for (std::size_t i = 0; i < homes_.size(); ++i) {
        save(i, saved);
        pages.emplace(settings_.services[i].name, pages_of(settings_.services[i].slots));
    }
    std::vector<lb_saved_key> gone;
    saved.for_each<lb_saved_key, lb_page>([&](const lb_saved_key& key, const lb_page&) {
        const auto kept = pages.find(key.service);
        if (kept == pages.end() || key.page >= kept->second) gone.push_back(key);
    });
    for (const auto& key : gone) saved.erase(key);
}

} // namespace evnf::lb
