// SPDX-License-Identifier: MIT
/// Reads one BPF ring buffer and hands its records to a consumer, under the plugin's guard: what a consumer throws is
/// the guard's, the record is gone, the next ones are read. In quarantine nothing more is read. At most 256 records
/// a turn.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <memory>

#include <evnf/plugin.hpp>

#include "guard.hpp"

namespace evnf {

class RingReader {
public:
    virtual ~RingReader() = default;
    /// Hands over what is there now, on the caller's thread. For readers made with read_by_hand.
    virtual void drain() {}
    /// Has its thread turned since the last call? True for readers without a thread.
    virtual bool progressed() { return true; }
    /// Was the ring empty when it was last looked at? Then this may go without holding up its caller.
    virtual bool idle() { return true; }
};

/// On the loop: when the ring wakes us, and every 100 ms for records sent without a wake-up. Between two turns of a
/// flooded ring the others' handlers run. `executor` must be guarded by `guard`.
std::unique_ptr<RingReader> read_on_loop(const MapRef& ring, boost::asio::any_io_executor executor,
                                         RingConsumer consumer, std::shared_ptr<Guard> guard);
/// On a thread of its own, every 10 ms at the latest.
std::unique_ptr<RingReader> read_on_thread(const MapRef& ring, RingConsumer consumer, std::shared_ptr<Guard> guard);
/// Only when drain() is called.
std::unique_ptr<RingReader> read_by_hand(const MapRef& ring, RingConsumer consumer, std::shared_ptr<Guard> guard);

} // namespace evnf
