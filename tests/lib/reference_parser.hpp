// SPDX-License-Identifier: MIT
/// A second parser, written from the RFCs, slow and plain: the oracle for the fast path's.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "packet.hpp"

namespace evnf::test {

struct Parsed {
    std::string problem;     ///< the drop reason that this frame deserves; empty: well formed
    std::string src_mac;     ///< 6 bytes
    unsigned ip_version = 0; ///< 0: no IP
    std::vector<unsigned> vlans;
    std::string src, dst; ///< 4 or 16 bytes
    unsigned protocol = 0, ttl = 0, tos = 0;
    bool options = false; ///< IPv4 options or an IPv6 hop-by-hop header
    bool first_fragment = false, later_fragment = false;
    unsigned fragment_id = 0;
    bool has_l4 = true; ///< what follows is known: not so in a later fragment
    unsigned sport = 0, dport = 0, tcp_flags = 0, icmp_type = 0, icmp_code = 0;
    unsigned tcp_seq = 0, tcp_ack = 0, icmp_id = 0;
    std::size_t l3_offset = 0, l4_offset = 0, payload_offset = 0;
    std::size_t end = 0; ///< of the IP packet in the frame; padding follows
};

Parsed reference_parse(const Frame& frame);

} // namespace evnf::test
