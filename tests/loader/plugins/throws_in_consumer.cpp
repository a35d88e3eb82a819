// SPDX-License-Identifier: MIT
#include <stdexcept>

#include "ring.hpp"

struct ThrowsInConsumer : Ring {
    explicit ThrowsInConsumer(evnf::Host& host) : Ring{host, evnf::RingThread::loop} {}
    void consume(std::uint64_t) override { throw std::runtime_error{"no such luck"}; }
};

EVNF_PLUGIN("throws_in_consumer", ThrowsInConsumer, 1, nullptr, evnf::OnError::skip)
