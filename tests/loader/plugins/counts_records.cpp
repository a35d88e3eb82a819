// SPDX-License-Identifier: MIT
#include "ring.hpp"

struct CountsRecords : Ring {
    explicit CountsRecords(evnf::Host& host) : Ring{host, evnf::RingThread::loop} {}
};

EVNF_PLUGIN("counts_records", CountsRecords, 1, nullptr, evnf::OnError::skip)
