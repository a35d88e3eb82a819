// SPDX-License-Identifier: MIT
#include "buckets.hpp"

namespace evnf::fw {

namespace {

bool insert(fw_bucket& bucket, const ListPlace& list)
{
    const auto tag = fw_tag(list.hash);
    for (unsigned way = 0; way < FW_WAYS; ++way) {
        if (bucket.tags[way] == tag) return false;
        if (bucket.tags[way]) continue;
        bucket.tags[way] = tag;
        bucket.lists[way] = list.first_entry;
        return true;
    }
    return false;
}

} // namespace

std::vector<fw_bucket> fill_buckets(const std::vector<ListPlace>& lists, std::size_t count)
{
    std::vector<fw_bucket> buckets(count);
    for (const auto& list : lists)
        if (!insert(buckets[list.hash & (buckets.size() - 1)], list)) return {};
    return buckets;
}

} // namespace evnf::fw
