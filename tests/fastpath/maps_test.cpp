// SPDX-License-Identifier: MIT
/// The SDK over real maps: MapRef and Slots.
#include <evnf/bpf.hpp>
#include <evnf/slots.hpp>

#include <map>

#include "catch.hpp"

using evnf::Fd;
using evnf::MapRef;
using evnf::Slots;

namespace {

Fd make_map(bpf_map_type type, std::uint32_t key, std::uint32_t value, std::uint32_t entries)
{
    Fd fd{bpf_map_create(type, "test", key, value, entries, nullptr)};
    REQUIRE(fd);
    return fd;
}

struct Names {
    Fd fd = make_map(BPF_MAP_TYPE_ARRAY, 4, sizeof(evnf::SlotName), 8);
    MapRef map{fd.get(), "names"};
};

} // namespace

TEST_CASE("maps: a key that is absent is nothing, not an error")
{
    const Fd fd = make_map(BPF_MAP_TYPE_HASH, 4, 8, 4);
    const MapRef map{fd.get(), "test"};
    CHECK_FALSE(map.find<std::uint64_t>(std::uint32_t{1}));
    CHECK_FALSE(map.erase(std::uint32_t{1}));
    map.update(std::uint32_t{1}, std::uint64_t{7});
    CHECK(map.find<std::uint64_t>(std::uint32_t{1}) == 7u);
    CHECK(map.erase(std::uint32_t{1}));
}

TEST_CASE("maps: a failure names the map and errno")
{
    const Fd fd = make_map(BPF_MAP_TYPE_HASH, 4, 8, 1);
    const MapRef map{fd.get(), "small"};
    map.update(std::uint32_t{1}, std::uint64_t{});
    try {
        map.update(std::uint32_t{2}, std::uint64_t{});
        FAIL("the second entry fitted");
    } catch (const std::system_error& error) {
        CHECK(error.code().value() == E2BIG);
        CHECK(std::string{error.what()}.find("small") != std::string::npos);
    }
}

TEST_CASE("maps: for_each sees each entry of a hash once")
{
    constexpr std::uint32_t entries = 20'000;
    const Fd fd = make_map(BPF_MAP_TYPE_HASH, 4, 8, entries);
    const MapRef map{fd.get(), "test"};
    for (std::uint32_t key = 0; key < entries; ++key) map.update(key, std::uint64_t{key} * 3);
    std::map<std::uint32_t, int> seen;
    map.for_each<std::uint32_t, std::uint64_t>([&](std::uint32_t key, std::uint64_t value) {
        REQUIRE(value == std::uint64_t{key} * 3);
        REQUIRE(++seen[key] == 1);
    });
    CHECK(seen.size() == entries);
}

TEST_CASE("maps: for_each of an empty hash calls nothing")
{
    const Fd fd = make_map(BPF_MAP_TYPE_HASH, 4, 8, 100);
    MapRef{fd.get(), "test"}.for_each<std::uint32_t, std::uint64_t>([](auto, auto) { FAIL("an entry"); });
}

TEST_CASE("maps: a per-CPU value has one element a CPU")
{
    const Fd fd = make_map(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 1);
    const MapRef map{fd.get(), "test"};
    map.update_per_cpu(std::uint32_t{0}, std::uint64_t{5});
    const auto values = map.find_per_cpu<std::uint64_t>(std::uint32_t{0});
    CHECK(values == std::vector<std::uint64_t>(static_cast<std::size_t>(MapRef::cpus()), 5));
}

TEST_CASE("slots: a name that stays keeps its slot, and only new names are fresh")
{
    const Names names;
    Slots slots = Slots::read(names.map, 1);
    slots.commit(slots.plan({"a", "b", "c"}), names.map);
    const auto before = slots.all();
    const auto plan = slots.plan({"c", "new", "a"});
    CHECK(plan.slots.at("a") == before.at("a"));
    CHECK(plan.slots.at("c") == before.at("c"));
    CHECK(plan.fresh == std::vector{plan.slots.at("new")});
}

TEST_CASE("slots: the slot of a name that goes is given out last")
{
    const Names names;
    Slots slots = Slots::read(names.map, 1); // 7 slots
    slots.commit(slots.plan({"a", "b"}), names.map);
    const auto gone = slots.at("b");
    CHECK(slots.plan({"a", "1", "2", "3", "4", "5"}).slots.at("5") != gone);
    CHECK(slots.plan({"a", "1", "2", "3", "4", "5", "6"}).slots.at("6") == gone);
}

TEST_CASE("slots: the assignment is read back from the map")
{
    const Names names;
    Slots slots = Slots::read(names.map, 1);
    slots.commit(slots.plan({"a", "b", "c"}), names.map);
    slots.commit(slots.plan({"c", "d"}), names.map);
    const Slots restarted = Slots::read(names.map, 1);
    CHECK(restarted.all() == slots.all());
    CHECK(restarted.find("a") == -1);
    CHECK(restarted.find("d") == std::int64_t{slots.at("d")});
}

TEST_CASE("slots: a new name may take the slot of one that goes in the same plan")
{
    const Fd fd = make_map(BPF_MAP_TYPE_ARRAY, 4, sizeof(evnf::SlotName), 1);
    const MapRef map{fd.get(), "names"};
    Slots slots = Slots::read(map);
    slots.commit(slots.plan({"old"}), map);
    slots.commit(slots.plan({"new"}), map);
    CHECK(Slots::read(map).all() == std::map<std::string, std::uint32_t, std::less<>>{{"new", 0}});
}
