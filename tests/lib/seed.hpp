// SPDX-License-Identifier: MIT
/// The seed of a random test, which a failed run is repeated by.
#pragma once

#include <cstdlib>
#include <iostream>
#include <random>
#include <string>

namespace evnf::test {

/// Prints it. EVNF_TEST_SEED in the environment sets it.
inline unsigned seed_of_test()
{
    const char* given = std::getenv("EVNF_TEST_SEED");
    const auto seed = given ? static_cast<unsigned>(std::stoul(given)) : std::random_device{}();
    std::cout << "EVNF_TEST_SEED=" << seed << std::endl;
    return seed;
}

} // namespace evnf::test
