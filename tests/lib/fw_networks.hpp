// SPDX-License-Identifier: MIT
/// Prefixes and addresses at random. Addresses are 4 or 16 bytes, bits are counted from the first one.
#pragma once

#include <string>

#include "dice.hpp"
#include "fw_model.hpp"

namespace evnf::test {

unsigned bits_of(const std::string& address);
void flip(std::string& address, unsigned bit);
std::string address_text(const std::string& address);

/// Reads "10.1.0.0/16", "2001:db8::1", …
FwNetwork network(const std::string& text);

/// A network of this length in `around`, at random.
FwNetwork network_inside(Dice& dice, const FwNetwork& around, unsigned length);

/// An address of the network: at random, or its first or last.
std::string address_inside(Dice& dice, const FwNetwork& around);

} // namespace evnf::test
