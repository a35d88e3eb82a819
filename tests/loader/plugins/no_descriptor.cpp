// SPDX-License-Identifier: MIT
#include "good.hpp"

void something_else(evnf::Host& host)
{
    Good good{host};
}
