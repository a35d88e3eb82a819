// SPDX-License-Identifier: MIT
/// Stable indices for names: which element of a counter array belongs to which rule, port or
/// backend, over reloads and restarts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/bpf.hpp>

namespace evnf {

/// A name in a names map: an ARRAY state map with this value. Longer names are refused by stage().
inline constexpr std::size_t kSlotNameSize = 64;
struct SlotName {
    char text[kSlotNameSize];
};

/// An assignment of names to slots, as it was (from the names map) and as it shall be.
/// A name keeps its slot; a new name gets a slot that no live name has.
class Slots {
public:
    /// `capacity` slots, the first `reserved` of which are never given out.
    explicit Slots(std::uint32_t capacity, std::uint32_t reserved = 0)
        : capacity_{capacity}, reserved_{reserved}
    {
    }
    /// Reads the assignment from a names map.
    static Slots read(const MapRef& names, std::uint32_t reserved = 0);

    /// The assignment for `names`: names that stay keep their slots; slots of names that are no
    /// longer wanted are not given out yet, since live packets may still use them, unless
    /// there is no other. Throws std::length_error when there are more names than slots.
    struct Plan;
    Plan plan(const std::vector<std::string>& names) const;

    /// Makes the plan the assignment, in the names map too.
    void commit(const Plan& plan, const MapRef& names);

    /// Throws std::out_of_range.
    std::uint32_t at(const std::string& name) const { return slots_.at(name); }
    /// -1 where the name has none.
    std::int64_t find(std::string_view name) const;
    const std::map<std::string, std::uint32_t, std::less<>>& all() const noexcept { return slots_; }

private:
    std::uint32_t capacity_, reserved_;
    std::map<std::string, std::uint32_t, std::less<>> slots_;
};

struct Slots::Plan {
    std::map<std::string, std::uint32_t, std::less<>> slots;
    std::vector<std::uint32_t> fresh; ///< slots whose counters must be zeroed before use
};

} // namespace evnf
