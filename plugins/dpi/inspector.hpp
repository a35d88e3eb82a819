// SPDX-License-Identifier: MIT
/// The slow path proper: copies of packets in, verdicts out.
///
/// Copies come on the threads of the workers' rings, each on its own; the rest is for the control thread, which hardly ever
/// waits for nDPI, and never for a dissector that does not come back.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <vector>

#include "worker.hpp"

namespace evnf::dpi {

class Inspector {
public:
    explicit Inspector(unsigned jiffies_per_second);

    /// From now on: flows that begin use `engines` (others finish on the one that they began with) and verdicts go to
    /// `sink`. When it returns, the former sink is no longer used.
    void use(std::shared_ptr<const Engines> engines, VerdictSink sink);
    /// From now on copies of a flow may come to another worker than before: it takes the flow over, as one with a gap. To
    /// be called before the fast path gets another number of workers.
    void expect_moves() noexcept { moves_ = true; }
    /// Works with these breadcrumbs from now on, and has those flows given up that an earlier process has died of; they
    /// are the answer. After use(), and before the first record.
    std::vector<dpi_breadcrumb> recover(std::shared_ptr<Breadcrumbs> crumbs);

    /// A record of the worker's ring: on the thread of that ring.
    void inspect(unsigned worker, std::span<const std::byte> record);

    /// Nothing where no packet of that flow came here.
    std::optional<Knowledge> find(std::uint64_t id) const;
    /// What is known, or what the ports and addresses say; for listings.
    Knowledge describe(const dpi_key& key, const dpi_flow& flow) const;
    /// The flow ends: what it was, as far as can be told. Frees what is kept of it.
    Label finish(const dpi_key& key, const dpi_flow& flow);
    /// Frees what is kept of flows that are no more: those whose 5-tuple a new connection took over. Looks at up to
    /// `count` flows of each worker, and goes round in as many calls as it takes.
    void prune(std::size_t count, const std::function<bool(const dpi_key&, std::uint64_t id)>& is_alive);

    std::size_t flows() const;
    /// Flows that nDPI holds memory for.
    std::size_t inspections() const;
    /// By worker, as many as there are.
    std::vector<Effort> efforts() const;
    /// Flows that were ever put in quarantine.
    std::uint64_t quarantined() const { return crumbs_->quarantined(); }
    /// A worker and the flow that it has been at for so much CPU time by now. For the control thread, every now and then.
    struct Stuck {
        unsigned worker;
        dpi_breadcrumb crumb;
    };
    std::optional<Stuck> stuck(std::chrono::nanoseconds limit);

private:
    void take_over(unsigned worker, std::uint64_t id);
    std::shared_ptr<const Engines> engines() const;
    bool deliver(const Verdict& verdict) const;

    std::vector<std::unique_ptr<Worker>> workers_; // always as many as there can be
    std::shared_ptr<Breadcrumbs> crumbs_ = std::make_shared<Breadcrumbs>();
    std::atomic<bool> moves_{false}; // a flow may be with a worker that is not its own
    mutable std::shared_mutex mutex_;  // of what follows
    std::shared_ptr<const Engines> engines_;
    VerdictSink sink_;
};

} // namespace evnf::dpi
