// SPDX-License-Identifier: MIT
/// The flow log: what ended flows were, for other programs to keep.
#pragma once

#include <boost/json/array.hpp>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "flow_log_settings.hpp"
#include "flow_record.hpp"

namespace spdlog {
class logger;
}

namespace evnf::dpi {

/// How one target fares.
struct FlowLogStatus {
    std::string target;
    std::uint64_t written = 0; ///< entries handed to the file or socket
    std::uint64_t lost = 0;    ///< entries that were given up: the target was away, or slow, for too long
    std::uint64_t waiting = 0;
    std::string problem; ///< why it cannot be written to now; empty: all is well
};

/// Hands entries to its targets, each in order and on a thread of its own, so that a target that is away or slow
/// holds up neither the caller nor another target. While one is, up to 65536 entries wait for it. Those above are lost,
/// and counted: the target then gets an aggregate "lost" in their place, so that sums stay right.
/// A change for the worse or the better is logged once. For one thread; no call of it blocks but the destructor.
class FlowLog {
public:
    /// `log` is thread-safe and outlives this.
    explicit FlowLog(spdlog::logger& log);
    /// Writes what waits, for 4 s at most; what is left is counted in the log's last line.
    ~FlowLog();
    FlowLog(const FlowLog&) = delete;
    FlowLog& operator=(const FlowLog&) = delete;

    /// From now on entries go to these targets. Those that were there before are opened anew (another program may have moved
    /// the file away); those that are no more get what waits for them.
    void use(const std::vector<FlowLogTarget>& targets) noexcept;

    void write(const FlowRecord& record);
    /// Packets that no record tells of. `app`: empty where it may be any.
    void write_aggregate(std::string_view reason, std::string_view app, std::uint64_t flows, std::uint64_t packets,
                         std::uint64_t bytes);

    /// Whether anybody reads: where not, there is no need to make records.
    bool in_use() const noexcept { return !writers_.empty(); }
    std::vector<FlowLogStatus> status() const;
    /// The same, for `evnfctl dpi status`.
    boost::json::array report() const;

private:
    class Writer;
    using Writers = std::list<std::unique_ptr<Writer>>;

    void push(FlowLogEntry entry);

    spdlog::logger& log_;
    Writers writers_;
    Writers leaving_; // of targets that are no more, until they have written what waits
};

} // namespace evnf::dpi
