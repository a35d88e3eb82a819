// SPDX-License-Identifier: MIT
#include <evnf/slots.hpp>

#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>

namespace evnf {

Slots Slots::read(const MapRef& names, std::uint32_t reserved)
{
    Slots slots{names.info().max_entries, reserved};
    names.for_each<std::uint32_t, SlotName>([&](std::uint32_t slot, const SlotName& name) {
        if (slot >= reserved && name.text[0] != '\0')
            slots.slots_.emplace(std::string{name.text, strnlen(name.text, kSlotNameSize)}, slot);
    });
    return slots;
}

Slots::Plan Slots::plan(const std::vector<std::string>& names) const
{
    if (names.size() > capacity_ - reserved_)
        throw std::length_error{fmt::format("{} names for {} slots", names.size(), capacity_ - reserved_)};
    const std::set<std::string_view> wanted{names.begin(), names.end()};
    std::vector<bool> live(capacity_), staying(capacity_);
    for (const auto& [name, slot] : slots_) {
        live[slot] = true;
        staying[slot] = wanted.contains(name);
    }
    // Slots that nobody uses first, then those of names that go.
    std::vector<std::uint32_t> order;
    for (std::uint32_t slot = reserved_; slot < capacity_; ++slot)
        if (!live[slot]) order.push_back(slot);
    for (std::uint32_t slot = reserved_; slot < capacity_; ++slot)
        if (live[slot] && !staying[slot]) order.push_back(slot);

    Plan plan;
    auto next = order.begin();
    for (const auto& name : names) {
        if (const auto known = slots_.find(name); known != slots_.end()) {
            plan.slots.emplace(name, known->second);
        } else if (!plan.slots.contains(name)) {
            plan.slots.emplace(name, *next);
            plan.fresh.push_back(*next++);
        }
    }
    return plan;
}

void Slots::commit(const Plan& plan, const MapRef& names)
{
    for (const auto& [name, slot] : slots_)
        if (!plan.slots.contains(name)) names.update(slot, SlotName{});
    for (const auto& [name, slot] : plan.slots) {
        if (slots_.contains(name)) continue; // in its slot already
        SlotName text{};
        name.copy(text.text, kSlotNameSize - 1);
        names.update(slot, text);
    }
    slots_ = plan.slots;
}

std::int64_t Slots::find(std::string_view name) const
{
    const auto found = slots_.find(name);
    return found == slots_.end() ? -1 : std::int64_t{found->second};
}

} // namespace evnf
