// SPDX-License-Identifier: MIT
/// The plugin that behaves and has a ring; `query` answers how many records it was given.
#pragma once

#include <atomic>

#include "good.hpp"

#include "ring_bpf.skel.h"

class Ring : public Good {
public:
    Ring(evnf::Host& host, evnf::RingThread thread) : Good{host}
    {
        host.consume("records", thread, [this](auto) { consume(++records_); });
    }
    std::unique_ptr<evnf::Staged> stage(const evnf::Node&, const evnf::Ports&) override
    {
        return std::make_unique<GoodStaged<ring_bpf>>();
    }
    boost::json::value query(std::string_view, const std::vector<std::string>&) override { return records_.load(); }

private:
    virtual void consume(std::uint64_t) {}

    std::atomic<std::uint64_t> records_{0};
};
