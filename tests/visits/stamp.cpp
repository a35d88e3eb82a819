// SPDX-License-Identifier: MIT
/// stamp: `mark: N` in the configuration; `evnfctl INSTANCE visits` tells the packets of each route.
#include <evnf/plugin.hpp>

#include <numeric>

#include "stamp_bpf.skel.h"
#include "stamp_tc_bpf.skel.h"
#include "visits_shared.h"

namespace {

using namespace evnf;
using Live = std::shared_ptr<const Maps>;

class StampStaged : public Staged {
public:
    StampStaged(std::uint8_t mark, Live& live) : mark_{mark}, live_{live} {}

    std::unique_ptr<FastPath> open(FastPathHook hook) override
    {
        return open_fast_path<stamp_bpf, stamp_tc_bpf>(hook, [this](auto& skeleton) { skeleton.rodata->mark = mark_; });
    }
    bool leaves_chain() const override { return false; }
    void commit(Live maps) noexcept override { live_ = std::move(maps); }

private:
    std::uint8_t mark_;
    Live& live_;
};

class Stamp : public Plugin {
public:
    explicit Stamp(Host&) {}

    std::unique_ptr<Staged> stage(const Node& config, const Ports&) override
    {
        Map map{config};
        const auto mark = map.required("mark").integer(1, 255);
        map.done();
        return std::make_unique<StampStaged>(static_cast<std::uint8_t>(mark), live_);
    }

    boost::json::value query(std::string_view verb, const std::vector<std::string>&) override
    {
        if (verb != "visits") throw UnknownVerb{{"visits"}};
        boost::json::array visits;
        for (std::uint32_t route = 0; route < VISITS_MAX_ROUTES; ++route) {
            const auto counts = live_->get("stamp_visits").find_per_cpu<std::uint64_t>(route);
            visits.push_back(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
        }
        return visits;
    }

private:
    Live live_;
};

} // namespace

EVNF_PLUGIN("stamp", Stamp, 1, nullptr, evnf::OnError::drop)
