// SPDX-License-Identifier: MIT
#include <chrono>
#include <thread>

#include "ring.hpp"

/// Its first record takes until it is stopped, or queried.
struct SticksInWorker : Ring {
    explicit SticksInWorker(evnf::Host& host) : Ring{host, evnf::RingThread::worker} {}
    void consume(std::uint64_t) override
    {
        stuck_ = true;
        while (!freed_) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    /// "stuck": is it? Anything else frees it.
    boost::json::value query(std::string_view verb, const std::vector<std::string>&) override
    {
        if (verb != "stuck") freed_ = true;
        return stuck_.load();
    }

private:
    std::atomic<bool> stuck_{false}, freed_{false};
};

EVNF_PLUGIN("sticks_in_worker", SticksInWorker, 1, nullptr, evnf::OnError::skip)
