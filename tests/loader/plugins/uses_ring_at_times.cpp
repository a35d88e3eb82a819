// SPDX-License-Identifier: MIT
#include "ring.hpp"

/// Every second generation uses the ring, the first one does not. (Its fast path writes to it all the same.)
struct UsesRingAtTimes : Ring {
    explicit UsesRingAtTimes(evnf::Host& host) : Ring{host, evnf::RingThread::worker} {}

    struct StagedAtTimes : GoodStaged<ring_bpf> {
        explicit StagedAtTimes(bool uses) : uses_{uses} {}
        bool uses_ring(const std::string& name) const noexcept override { return name == "records" && uses_; }
        bool uses_;
    };
    std::unique_ptr<evnf::Staged> stage(const evnf::Node&, const evnf::Ports&) override
    {
        return std::make_unique<StagedAtTimes>(++generations_ % 2 == 0);
    }

private:
    unsigned generations_ = 0;
};

EVNF_PLUGIN("uses_ring_at_times", UsesRingAtTimes, 1, nullptr, evnf::OnError::skip)
