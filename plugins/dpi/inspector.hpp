// SPDX-License-Identifier: MIT
/// The slow path proper: copies of packets in, verdicts out.
///
/// Thread-safe: copies come on the ring's worker, questions from the control thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "ndpi_engine.hpp"

namespace evnf::dpi {

/// What the inspector concludes of a flow.
struct Verdict {
    dpi_key key;
    std::uint64_t id;
    dpi_state state; ///< DPI_CLASSIFIED or DPI_GAVE_UP
    Label label;
};

/// Installs a verdict in the flow's entry; false when that flow is no more.
using VerdictSink = std::function<bool(const Verdict&)>;

/// What is known of a flow: `state` is final or DPI_INSPECTING.
struct Knowledge {
    dpi_state state;
    Label label;
};

class Inspector {
public:
    explicit Inspector(unsigned jiffies_per_second) : jiffies_per_second_{jiffies_per_second} {}

    /// From now on: flows that begin use `engine` (others finish on the one that they began
    /// with) and verdicts go to `sink`. When it returns, the former sink is no longer used.
    void use(std::shared_ptr<Engine> engine, VerdictSink sink);

    /// A record of the ring dpi_copies.
    void inspect(std::span<const std::byte> record);

    /// Nothing where no packet of that flow came here.
    std::optional<Knowledge> find(std::uint64_t id) const;
    /// What is known, or what the ports and addresses say; for listings.
    Knowledge describe(const dpi_key& key, const dpi_flow& flow) const;
    /// The flow ends: what it was, as far as can be told. Frees what is kept of it.
    Label finish(const dpi_key& key, const dpi_flow& flow);
    /// Frees what is kept of up to `count` flows that are no more: those whose 5-tuple a new
    /// connection took over. Goes round in as many calls as it takes.
    void prune(std::size_t count, const std::function<bool(const dpi_key&, std::uint64_t id)>& is_alive);

    std::size_t flows() const;
    /// Flows that nDPI holds memory for.
    std::size_t inspections() const;

private:
    struct Flow {
        dpi_key key;
        std::unique_ptr<Inspection> inspection; // null once there is a verdict
        Knowledge known{DPI_INSPECTING, {}};
    };

    void feed(Flow& flow, const dpi_copy& copy, std::span<const std::byte> packet);
    std::unique_ptr<Inspection> begin(const dpi_copy& copy, std::span<const std::byte> packet) const;
    void conclude(Flow& flow, std::uint64_t id);
    std::uint64_t milliseconds(std::uint64_t jiffies) const { return jiffies * 1000 / jiffies_per_second_; }

    const unsigned jiffies_per_second_;
    mutable std::mutex mutex_;
    std::shared_ptr<Engine> engine_;
    VerdictSink sink_;
    std::map<std::uint64_t, Flow> flows_; // by id, so that prune() can go on where it stopped
    std::uint64_t pruned_to_ = 0;
};

} // namespace evnf::dpi
