// SPDX-License-Identifier: MIT
/// One worker of the slow path: a thread's share of the flows.
///
/// inspect() is for the thread that reads the worker's ring, the rest for any thread. What nDPI does is done without a
/// lock that anything else here takes: a dissector that never comes back holds up nobody but its own worker.
#pragma once

#include <time.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>

#include "breadcrumbs.hpp"
#include "cpu_time_watch.hpp"
#include "ndpi_engine.hpp"
#include "verdict.hpp"

namespace evnf::dpi {

/// What inspection has cost a worker since the process began.
struct Effort {
    std::uint64_t flows = 0;   ///< that nDPI began with
    std::uint64_t packets = 0; ///< that nDPI looked at
    std::chrono::nanoseconds time{0};
};

class Worker {
public:
    Worker(unsigned number, unsigned jiffies_per_second) : number_{number}, jiffies_per_second_{jiffies_per_second} {}

    /// What the worker knows of a flow.
    struct Flow {
        dpi_key key{};
        Knowledge known{DPI_INSPECTING, {}};
        std::unique_ptr<Label> guess;           ///< while nothing else is known: what nDPI would say if nothing followed
        std::unique_ptr<Inspection> inspection; ///< null once there is a verdict, and while a packet is dissected
        bool gap = false;                       ///< a copy may be missing, or out of order
    };
    using Flows = std::unordered_map<std::uint64_t, Flow>; // by id

    /// A copy and the packet in it. A flow that begins with it is inspected by `engine`, unless it is in quarantine.
    void inspect(const dpi_copy& copy, std::span<const std::byte> packet, const std::shared_ptr<Engine>& engine,
                 Breadcrumbs& crumbs, const VerdictSink& sink);

    bool has(std::uint64_t id) const;
    std::optional<Knowledge> find(std::uint64_t id) const;
    /// As find(), with the guess in place of what is not known.
    std::optional<Knowledge> describe(std::uint64_t id) const;
    /// The flow ends: what it was. Frees what is kept of it. For the control thread.
    std::optional<Label> finish(std::uint64_t id);
    /// Takes a flow out, for another worker. Empty where there is none.
    Flows::node_type extract(std::uint64_t id);
    /// Takes over a flow of another worker. Copies of it may still come to both, so it counts as one with a gap.
    void adopt(Flows::node_type flow);
    void prune(std::size_t count, const std::function<bool(const dpi_key&, std::uint64_t id)>& is_alive);

    std::size_t flows() const;
    std::size_t inspections() const;
    Effort effort() const;
    /// What is being inspected, if for so much CPU time by now. For one thread, again and again.
    std::optional<dpi_breadcrumb> stuck(std::chrono::nanoseconds limit, Breadcrumbs& crumbs);

private:
    /// What a packet told.
    struct Finding {
        Label label;
        std::unique_ptr<Label> guess;
        bool final = false, wants_more = false;
    };
    class Dissection;

    bool take(const dpi_copy& copy, const Breadcrumbs& crumbs, Flow& taken);
    Finding dissect(Flow& flow, const dpi_copy& copy, std::span<const std::byte> packet, const std::shared_ptr<Engine>& engine);
    void begin(Flow& flow, const dpi_copy& copy, std::span<const std::byte> packet, const std::shared_ptr<Engine>& engine);
    std::optional<Verdict> settle(std::uint64_t id, Flow& taken, Finding& finding);
    std::uint64_t milliseconds(std::uint64_t jiffies) const { return jiffies * 1000 / jiffies_per_second_; }

    const unsigned number_, jiffies_per_second_;
    mutable std::mutex mutex_; // of the flows; held for short
    Flows flows_;
    std::size_t pruned_to_ = 0; // bucket

    std::atomic<std::uint64_t> began_{0}, dissected_{0}, time_ns_{0};
    std::atomic<std::uint64_t> step_{0}; // odd: nDPI has a packet
    std::atomic<clockid_t> clock_{CLOCK_MONOTONIC};
    std::uint64_t waited_for_ = 0; // a step that finish() was not willing to wait for any longer
    CpuTimeWatch watch_;
};

} // namespace evnf::dpi
