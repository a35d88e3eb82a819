// SPDX-License-Identifier: MIT
#include "apps.hpp"

#include <cstring>

namespace evnf::dpi {

namespace {

std::string text(const char (&field)[DPI_NAME_SIZE])
{
    return {field, strnlen(field, sizeof field)};
}

void set(char (&field)[DPI_NAME_SIZE], const std::string& value)
{
    value.copy(field, sizeof field - 1);
}

} // namespace

Apps::Apps(const Maps& maps, Tell tell)
    : map_{maps.get("dpi_apps")}, totals_{maps.get("dpi_totals"), DPI_MAX_APPS}, tell_{std::move(tell)}
{
    const Label unknown;
    remember(unknown.app, unknown.category);
    learn();
}

void Apps::learn() const
{
    while (names_.size() < DPI_MAX_APPS) {
        const auto app = map_.find<dpi_app>(static_cast<std::uint32_t>(names_.size()));
        if (!app || !app->name[0]) return;
        remember(text(app->name), text(app->category));
    }
}

void Apps::remember(const std::string& name, const std::string& category) const
{
    const auto number = static_cast<std::uint32_t>(names_.size());
    if (tell_) tell_(number, name, category);
    numbers_.emplace(std::pair{name, category}, number);
    names_.emplace_back(name, category);
}

void Apps::tell_all() const
{
    const std::lock_guard lock{mutex_};
    learn();
    if (!tell_) return;
    for (std::uint32_t number = 0; number < names_.size(); ++number) tell_(number, names_[number].first, names_[number].second);
}

std::uint32_t Apps::number(const Label& label)
{
    if (!label.known()) return 0;
    const std::lock_guard lock{mutex_};
    const std::pair name{label.app, label.category};
    if (!numbers_.contains(name)) learn();
    if (const auto found = numbers_.find(name); found != numbers_.end()) return found->second;
    if (names_.size() == DPI_MAX_APPS) return 0;
    const auto number = static_cast<std::uint32_t>(names_.size());
    dpi_app app{};
    set(app.name, label.app);
    set(app.category, label.category);
    remember(label.app, label.category);
    map_.update(number, app);
    return number;
}

std::pair<std::string, std::string> Apps::name(std::uint32_t number) const
{
    const std::lock_guard lock{mutex_};
    if (number >= names_.size()) learn();
    return names_.at(number < names_.size() ? number : 0);
}

void Apps::add(std::uint32_t number, std::uint64_t packets, std::uint64_t bytes)
{
    auto& totals = totals_.rows()[number < DPI_MAX_APPS ? number : 0];
    __atomic_fetch_add(&totals.flows, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&totals.packets, packets, __ATOMIC_RELAXED);
    __atomic_fetch_add(&totals.bytes, bytes, __ATOMIC_RELAXED);
}

std::map<std::pair<std::string, std::string>, AppTotals> Apps::ended() const
{
    const std::lock_guard lock{mutex_};
    learn();
    std::map<std::pair<std::string, std::string>, AppTotals> all;
    for (std::size_t i = 0; i < names_.size(); ++i) {
        const auto& totals = totals_.rows()[i];
        const AppTotals read{__atomic_load_n(&totals.flows, __ATOMIC_RELAXED), __atomic_load_n(&totals.packets, __ATOMIC_RELAXED),
                             __atomic_load_n(&totals.bytes, __ATOMIC_RELAXED)};
        if (read.flows) all[names_[i]] = read;
    }
    return all;
}

} // namespace evnf::dpi
