// SPDX-License-Identifier: MIT
/// A configuration loaded and attached to nothing, for tests of the fast path: the daemon's own transaction and
/// programs, run by BPF_PROG_TEST_RUN. The forwarder answers "forward" without routing.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "evnfd/clock.hpp"
#include "evnfd/packet_runner.hpp"

namespace evnf::test {

using Result = Outcome;

/// At which hook chains run in this test program; plain tests run at XDP.
inline bool at_tc = false;

class Chain {
public:
    /// The text of a whole configuration. Throws std::runtime_error with all of its problems.
    explicit Chain(const std::string& yaml);

    /// Whether the kernel's test run takes the frame at all.
    bool can_run(const std::string& port, const std::vector<std::byte>& frame) const { return cannot_run(dataplane_, port, frame).empty(); }
    /// One packet; what it sent to the slow path has been handled when this returns.
    Result run(std::string_view port, const std::vector<std::byte>& frame);
    /// The reload transaction; throws and changes nothing when it is refused.
    void reload(const std::string& yaml);
    boost::json::value query(std::string_view instance, std::string_view verb, std::vector<std::string> args = {});
    /// A map of a plugin, or of the framework where the name begins with evnf_.
    MapRef map(std::string_view instance, const std::string& name);
    boost::json::value stats();
    /// The program that a packet of the port begins with; owned by the chain, of the present generation.
    int entry(std::string_view port) const;
    double cost_ns(std::string_view port, const std::vector<std::byte>& frame, unsigned repeat);
    /// Runs what timers of plugins have become due, without waiting.
    void poll() { io_.restart(), io_.poll(); }

private:
    boost::asio::io_context io_;
    Dataplane dataplane_;
};

} // namespace evnf::test
