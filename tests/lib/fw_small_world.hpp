// SPDX-License-Identifier: MIT
/// The few values that random rules ask for and random packets have, so that they meet often.
#pragma once

#include <string>
#include <vector>

#include "fw_model.hpp"

namespace evnf::test {

inline const std::vector<unsigned> kPorts{0, 1, 22, 79, 80, 81, 443, 444, 8000, 8080, 8081, 65534, 65535};
inline const std::vector<unsigned> kProtocols{kIcmp, kTcp, kUdp, kGre, kEsp, kIcmpv6, kSctp};
inline const std::vector<unsigned> kIcmpTypes{0, 3, 8, 11, 128, 129};
inline const std::vector<unsigned> kVlans{0, 1, 7, 4094};
inline const std::vector<unsigned> kFlags{FIN, SYN, RST, PSH, ACK, URG, 0x40, 0x80};
inline const std::vector<unsigned> kIcmpCodes{0, 1, 4, 255};
inline const std::vector<unsigned> kDscps{0, 1, 10, 46, 63};
inline const std::vector<std::string> kMacs{"02:00:00:00:00:02", "02:00:00:00:00:03", "06:00:00:00:00:02",
                                     "02:aa:bb:cc:dd:ee"};

} // namespace evnf::test
