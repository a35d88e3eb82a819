// SPDX-License-Identifier: MIT
#include <evnf/slots.hpp>

#include <set>

#include "catch.hpp"

using evnf::Slots;

TEST_CASE("slots: each name has a slot of its own, none of the reserved")
{
    const auto plan = Slots{4, 1}.plan({"a", "b", "c"});
    std::set<std::uint32_t> slots;
    for (const auto& [name, slot] : plan.slots) slots.insert(slot);
    CHECK(slots == std::set<std::uint32_t>{1, 2, 3});
    CHECK(plan.fresh.size() == 3);
}

TEST_CASE("slots: a name that is there twice has one slot")
{
    const auto plan = Slots{4}.plan({"a", "a"});
    CHECK(plan.slots.size() == 1);
    CHECK(plan.fresh.size() == 1);
}

TEST_CASE("slots: more names than slots is an error")
{
    CHECK_NOTHROW(Slots{3, 1}.plan({"a", "b"}));
    CHECK_THROWS_AS((Slots{3, 1}.plan({"a", "b", "c"})), std::length_error);
}
