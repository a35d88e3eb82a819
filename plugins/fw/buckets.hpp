// SPDX-License-Identifier: MIT
/// The hash table of lists.
#pragma once

#include <cstdint>
#include <vector>

#include "fw_shared.h"

namespace evnf::fw {

/// An entry that is to be found by the hash of its tuple and key.
struct PlacedEntry {
    std::uint64_t hash = 0;
    fw_family family = FW_V4;
    const fw_entry* entry = nullptr; ///< lent
};

struct HashTable {
    std::vector<fw_bucket> buckets; ///< a power of 2
    std::vector<fw_entry> entries;  ///< list by list, each in the order of the rules
};

/// That many buckets, a power of 2; none where one gets too many lists: then hash with other seeds, or take more.
HashTable make_hash_table(std::vector<PlacedEntry> placed, std::size_t count);

} // namespace evnf::fw
