// SPDX-License-Identifier: MIT
/// Frames of the firewall's small world, field by field.
#pragma once

#include <string>
#include <vector>

#include "dice.hpp"
#include "fw_small_world.hpp"

namespace evnf::test {

/// A frame before it is built, each field by itself.
struct Draft {
    std::string src, dst; ///< 4 or 16 bytes
    unsigned protocol = kTcp, sport = 1234, dport = 80, flags = ACK, icmp_type = 8, icmp_code = 0, icmp_id = 1, tos = 0;
    bool far = false; ///< its sequence number is nowhere near what was acknowledged
    std::vector<unsigned> vlans; ///< two at most
    std::string mac = kMacs.front();
    FwFragment fragment = FwFragment::no; ///< no, first or later
    unsigned fragment_id = 1;
    std::string payload = std::string(16, 'x');
};

/// Any values of the small world.
Draft random_draft(Dice& dice);

/// Up to two tags.
std::vector<unsigned> random_tags(Dice& dice);

/// First or later with that probability.
FwFragment random_fragment(Dice& dice, unsigned percent);

/// A well-formed frame; what the draft leaves open (IP options, extension headers, …) is at random.
Frame build(Dice& dice, const Draft& draft);

} // namespace evnf::test
