// SPDX-License-Identifier: MIT
#include "rendezvous.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "lb_siphash.h"

namespace evnf::lb {

namespace {

std::uint64_t hash(const lb_hash_key& key, std::string_view text)
{
    std::vector<__u64> words(text.size() / 8 + 1);
    std::memcpy(words.data(), text.data(), text.size());
    words.back() |= __u64{text.size()} << 56;
    return lb_siphash(&key, words.data(), static_cast<unsigned>(words.size()));
}

/// In (0, 1).
double uniform(std::uint64_t hash)
{
    return (static_cast<double>(hash >> 11) + 0.5) * 0x1p-53;
}

} // namespace

lb_hash_key key_of(std::string_view seed)
{
    return {{hash({{0, 0}}, seed), hash({{0, 1}}, seed)}};
}

Table rendezvous(const lb_hash_key& key, const std::vector<NamedShare>& shares, std::uint32_t slots)
{
    Table table(slots, LB_NO_BACKEND);
    std::vector<double> best(slots, std::numeric_limits<double>::infinity());
    for (const auto& [name, share] : shares) {
        if (share.weight == 0) continue;
        __u64 words[] = {hash(key, name), 0, __u64{16} << 56};
        for (std::uint32_t slot = 0; slot < slots; ++slot) {
            words[1] = slot;
            // When the first of `weight` events a unit of time comes: the backend that is first wins.
            const double time = -std::log(uniform(lb_siphash(&key, words, 3))) / share.weight;
            if (time >= best[slot]) continue;
            best[slot] = time;
            table[slot] = share.backend;
        }
    }
    return table;
}

} // namespace evnf::lb
