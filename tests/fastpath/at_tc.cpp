// SPDX-License-Identifier: MIT
// Makes of the tests of the fast path those of its tc build.
#include "chain.hpp"

namespace {

const bool set = evnf::test::at_tc = true;

}
