// SPDX-License-Identifier: MIT
#include "buckets.hpp"

#include <algorithm>
#include <tuple>

namespace evnf::fw {

namespace {

/// Adds a list to the bucket; false where it is full.
bool add_list(fw_bucket& bucket, std::uint8_t tag, std::size_t first_entry)
{
    for (unsigned way = 0; way < FW_WAYS; ++way) {
        if (bucket.tags >> 8 * way & 0xff) continue;
        bucket.tags |= std::uint64_t{tag} << 8 * way;
        bucket.lists[way] = static_cast<std::uint32_t>(first_entry);
        return true;
    }
    return false;
}

} // namespace

HashTable make_hash_table(std::vector<PlacedEntry> placed, std::size_t count)
{
    const auto place = [&](const PlacedEntry& one) { return std::pair{one.hash & (count - 1), fw_tag(one.hash, one.family)}; };
    std::stable_sort(placed.begin(), placed.end(), [&](const PlacedEntry& a, const PlacedEntry& b) {
        return std::tuple{place(a), a.entry->rule} < std::tuple{place(b), b.entry->rule};
    });
    HashTable table{std::vector<fw_bucket>(count), {}};
    auto& entries = table.entries;
    for (std::size_t i = 0; i < placed.size(); ++i) {
        const auto [bucket, tag] = place(placed[i]);
        const bool begins = i == 0 || place(placed[i - 1]) != place(placed[i]);
        if (begins && !add_list(table.buckets[bucket], tag, entries.size())) return {};
        if (begins && !entries.empty()) entries.back().conditions |= FW_LAST;
        entries.push_back(*placed[i].entry);
    }
    if (!entries.empty()) entries.back().conditions |= FW_LAST;
    return table;
}

} // namespace evnf::fw
