// SPDX-License-Identifier: MIT
/// Runs single packets through a dry-run data plane: what --replay and the fast path's tests stand on.
#pragma once

#include <boost/json/object.hpp>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "dataplane.hpp"

namespace evnf {

/// What became of one packet.
struct Outcome {
    evnf_verdict verdict;
    std::string reason; ///< as in EVNF_REASONS; "none" where the verdict needs none
    std::string stage;  ///< that decided
    std::vector<std::byte> frame;
    evnf_packet packet;
    boost::json::object plugins; ///< by instance, of those that saw the packet
};

/// The program that packets of the port begin with, of the present generation; stays the dataplane's.
int entry_of(const Dataplane& dataplane, const std::string& port);

/// Why a frame cannot be run through the port's chain at all, or empty: BPF_PROG_TEST_RUN takes what fits one page with
/// its headroom, and at tc nothing that is cut within its IP header.
std::string cannot_run(const Dataplane& dataplane, const std::string& port, std::span<const std::byte> frame);

/// Runs the frame through the port's chain and handles what it sent to the slow path.
Outcome run_packet(Dataplane& dataplane, const std::string& port, std::span<const std::byte> frame);

/// Mean nanoseconds of one run of the port's chain, over `repeat` runs. The frame is not restored between runs.
double packet_cost_ns(const Dataplane& dataplane, const std::string& port, std::span<const std::byte> frame, unsigned repeat);

} // namespace evnf
