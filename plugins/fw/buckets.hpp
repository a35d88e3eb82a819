// SPDX-License-Identifier: MIT
/// The hash table of lists.
#pragma once

#include <cstdint>
#include <vector>

#include "fw_shared.h"

namespace evnf::fw {

/// A list to be found: where it begins, and the hash of its tuple and key.
struct ListPlace {
    std::uint64_t hash = 0;
    std::uint32_t first_entry = 0;
};

/// That many buckets, a power of 2. Empty where a bucket gets too many lists or two that cannot be told apart: then hash
/// with other seeds, or take more buckets.
std::vector<fw_bucket> fill_buckets(const std::vector<ListPlace>& lists, std::size_t count);

} // namespace evnf::fw
