// SPDX-License-Identifier: MIT
#include "ring.hpp"

struct ThrowsInWorker : Ring {
    explicit ThrowsInWorker(evnf::Host& host) : Ring{host, evnf::RingThread::worker} {}
    void consume(std::uint64_t) override { throw 42; }
};

EVNF_PLUGIN("throws_in_worker", ThrowsInWorker, 1, nullptr, evnf::OnError::skip)
