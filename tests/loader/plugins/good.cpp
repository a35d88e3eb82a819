// SPDX-License-Identifier: MIT
#include "good.hpp"

EVNF_PLUGIN("good", Good, 1, nullptr, evnf::OnError::skip)
