// SPDX-License-Identifier: MIT
/// Reads one BPF ring buffer and hands its records to a consumer.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include <evnf/plugin.hpp>

namespace evnf {

/// Called with what a consumer threw; may be called on the ring's own thread.
using RingFailure = std::function<void(const std::string& what)>;

class RingReader {
public:
    virtual ~RingReader() = default;
    /// Hands over what is there now, on the caller's thread. For readers made with read_by_hand.
    virtual void drain() = 0;
};

/// On the executor's thread: when the ring wakes us, and every 100 ms for records sent without a wake-up. At most
/// 256 records a turn, so that a flood of one ring does not starve the loop.
std::unique_ptr<RingReader> read_on_loop(const MapRef& ring, boost::asio::any_io_executor executor,
                                         RingConsumer consumer, RingFailure failure);
/// On a thread of its own, every 10 ms at the latest.
std::unique_ptr<RingReader> read_on_thread(const MapRef& ring, RingConsumer consumer, RingFailure failure);
/// Only when drain() is called.
std::unique_ptr<RingReader> read_by_hand(const MapRef& ring, RingConsumer consumer, RingFailure failure);

} // namespace evnf
