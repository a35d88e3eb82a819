// SPDX-License-Identifier: MIT
/// Sets that change: what they hold, and the trees in which the fast path looks them up, beside plain lists of prefixes.
#include <live_set.hpp>
#include <set_trees.hpp>

#include <algorithm>
#include <random>
#include <string>

#include "catch.hpp"

using evnf::Address;
using evnf::Prefix;
using evnf::fw::LiveSet;
using evnf::fw::SetTrees;

namespace {

Prefix prefix(const std::string& text)
{
    std::string why;
    const auto parsed = Prefix::parse(text, why);
    INFO(text << " " << why);
    REQUIRE(parsed);
    return *parsed;
}

std::vector<Prefix> prefixes(const std::vector<std::string>& texts)
{
    std::vector<Prefix> all;
    for (const auto& text : texts) all.push_back(prefix(text));
    return all;
}

/// The model: whether the first bits are the same, one after the other.
bool lies_in(const Address& address, const Prefix& prefix)
{
    if (address.is_v4() != prefix.is_v4()) return false;
    for (unsigned bit = 0; bit < prefix.length; ++bit)
        if ((address.raw.bytes[bit / 8] ^ prefix.address.raw.bytes[bit / 8]) & (0x80 >> bit % 8)) return false;
    return true;
}

bool lies_in_one(const Address& address, const std::vector<Prefix>& prefixes)
{
    return std::any_of(prefixes.begin(), prefixes.end(), [&](const Prefix& prefix) { return lies_in(address, prefix); });
}

/// Prefixes that are near one another, so that they nest, part late and lie side by side.
class World {
public:
    explicit World(unsigned seed) : random_{seed} {}

    Prefix random_prefix()
    {
        Prefix result{random_address(), 0};
        const bool v4 = result.address.is_v4();
        constexpr unsigned usual4[] = {96, 100, 104, 119, 120, 121, 122, 123, 127, 128, 128, 128}, usual6[] = {0, 3, 32, 47, 48, 63, 64, 126, 127, 128, 128};
        result.length = static_cast<std::uint8_t>(v4 ? usual4[below(std::size(usual4))] : usual6[below(std::size(usual6))]);
        if (below(4) == 0) result.length = static_cast<std::uint8_t>(v4 ? 96 + below(33) : below(129));
        for (unsigned bit = result.length; bit < 128; ++bit) result.address.raw.bytes[bit / 8] &= static_cast<unsigned char>(~(0x80 >> bit % 8));
        if (v4 != result.is_v4()) return random_prefix(); // an IPv6 prefix of mapped addresses
        return result;
    }

    Address random_address()
    {
        Address address = *Address::parse(below(2) ? "10.0.0.0" : "2001:db8::");
        const unsigned first = address.is_v4() ? 12 : 0;
        for (unsigned change = below(4); change > 0; --change) {
            const auto byte = first + below(16 - first);
            address.raw.bytes[byte] = static_cast<unsigned char>(below(2) ? below(4) : below(256));
        }
        return address;
    }

    /// The first or the last address of the prefix, or the one before or after it.
    Address edge_of(const Prefix& prefix)
    {
        auto number = evnf::fw::number_of(prefix.address);
        const auto hosts = prefix.length == 0 ? ~evnf::fw::Number128{0} : (evnf::fw::Number128{1} << (128 - prefix.length)) - 1;
        const unsigned which = below(4);
        number = which == 0 ? number : which == 1 ? number - 1 : which == 2 ? number + hosts : number + hosts + 1;
        return evnf::fw::address_of(number);
    }

    unsigned below(std::size_t count) { return static_cast<unsigned>(random_() % count); }

private:
    std::mt19937 random_;
};

/// A set and its tree, changed as the product does it, and the model.
struct Tested {
    LiveSet set;
    SetTrees trees{1};
    std::vector<Prefix> model;

    void add(const Prefix& prefix)
    {
        set.add(prefix);
        trees.insert(0, prefix);
        model.push_back(prefix);
    }
    void erase(const Prefix& prefix)
    {
        set.erase(prefix);
        if (!set.covering(prefix)) trees.erase(0, prefix, set.inside(prefix));
        std::erase(model, prefix);
    }
    void check(const Address& address) const
    {
        const bool wanted = lies_in_one(address, model);
        if (trees.contains(0, address) == wanted && set.contains(address) == wanted) return;
        INFO(address.text());
        CHECK(trees.contains(0, address) == wanted);
        CHECK(set.contains(address) == wanted);
    }
};

} // namespace

TEST_CASE("fw sets: random changes leave what a list of prefixes has")
{
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    World world{seed};
    for (int run = 0; run < 60; ++run) {
        Tested tested;
        for (int change = 0; change < 400; ++change) {
            const auto prefix = world.random_prefix();
            const bool grows = change < 150 || (change < 300 && world.below(2));
            if (grows && !tested.set.has(prefix)) tested.add(prefix);
            if (!grows && !tested.model.empty()) tested.erase(tested.model[world.below(tested.model.size())]);
            tested.check(world.random_address());
            if (!tested.model.empty()) tested.check(world.edge_of(tested.model[world.below(tested.model.size())]));
            tested.check(world.edge_of(prefix));
        }
        while (!tested.model.empty()) tested.erase(tested.model.back());
        CHECK(tested.trees.bytes(0) == sizeof(fw_set_roots)); // nothing is left of it
    }
}

TEST_CASE("fw sets: a tree takes no more than was said")
{
    World world{std::random_device{}()};
    std::vector<fw_set_page> pages;
    std::vector<fw_set_record> records;
    std::vector<fw_set_roots> roots(1);
    SetTrees trees{1};
    constexpr std::size_t room = 500;
    pages.resize(trees.pages_for(room));
    records.resize(trees.records_for(room));
    trees.move_to(roots, pages, records);
    int waits = 0;
    const auto wait = [&] { ++waits; };
    LiveSet set;
    REQUIRE(trees.has_room(room, wait));
    while (set.size() < room)
        if (const auto prefix = world.random_prefix(); !set.has(prefix)) {
            set.add(prefix);
            trees.insert(0, prefix);
        }
    CHECK(waits == 0);
    CHECK_FALSE(trees.has_room(10 * room, wait));
    std::vector<Prefix> all;
    set.for_each([&](const Prefix& prefix) { all.push_back(prefix); });
    for (const auto& prefix : all) {
        set.erase(prefix);
        if (!set.covering(prefix)) {
            REQUIRE(trees.has_room(set.count_inside(prefix), wait));
            trees.erase(0, prefix, set.inside(prefix));
        }
    }
    REQUIRE(trees.has_room(room, wait)); // what came free is used again, when no packet can be at it
    CHECK(waits > 0);
}

TEST_CASE("fw sets: what is deleted of the configuration and added again is as configured")
{
    LiveSet set{prefixes({"10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "10.0.0.0/8"})};
    CHECK(set.size() == 3);
    CHECK(set.size(true) == 2);
    set.erase(prefix("10.0.0.0/8"));
    CHECK(set.deleted().size() == 1);
    CHECK_FALSE(set.contains(*Address::parse("10.2.0.1")));
    CHECK(set.contains(*Address::parse("10.1.0.1")));
    set.add(prefix("10.0.0.0/8"));
    CHECK(set.deleted().empty());
    CHECK(set.added().empty());
    CHECK(set.covering(prefix("10.1.0.0/16")) == prefix("10.0.0.0/8"));
}

TEST_CASE("fw sets: changes that the configuration has by now have no effect")
{
    LiveSet set{prefixes({"10.1.0.0/16", "192.0.2.0/24"})};
    const auto without_effect = set.change(prefixes({"198.51.100.0/24", "192.0.2.0/24"}), prefixes({"10.1.0.0/16", "10.2.0.0/16"}));
    CHECK(without_effect == prefixes({"192.0.2.0/24", "10.2.0.0/16"}));
    CHECK(set.added() == std::set<Prefix>{prefix("198.51.100.0/24")});
    CHECK(set.deleted() == std::set<Prefix>{prefix("10.1.0.0/16")});
    CHECK(set.size() == 2);
}
