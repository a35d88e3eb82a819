// SPDX-License-Identifier: MIT
#include "ring_reader.hpp"

#include <fmt/format.h>

#include <stop_token>

namespace evnf {

namespace {

/// A libbpf ring with its consumer. A record whose consumer throws is gone; the next ones are read.
class Ring {
public:
    Ring(const MapRef& map, RingConsumer consumer, RingFailure failure)
        : consumer_{std::move(consumer)}, failure_{std::move(failure)}
    {
        ring_ = ring_buffer__new(map.fd(), &Ring::on_record, this, nullptr);
        if (!ring_) throw_errno(errno, fmt::format("cannot read ring buffer {}", map.name()));
    }
    ~Ring() { ring_buffer__free(ring_); }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    int epoll_fd() const { return ring_buffer__epoll_fd(ring_); }
    void wait(std::chrono::milliseconds timeout) { ring_buffer__poll(ring_, static_cast<int>(timeout.count())); }
    /// True when there may be more than `limit`.
    bool consume(unsigned limit)
    {
        left_ = limit;
        return ring_buffer__consume(ring_) == -EAGAIN;
    }

private:
    static int on_record(void* self, void* data, std::size_t size)
    {
        auto& ring = *static_cast<Ring*>(self);
        try {
            ring.consumer_({static_cast<const std::byte*>(data), size});
        } catch (const std::exception& error) {
            ring.failure_(error.what());
        } catch (...) {
            ring.failure_("an exception that is no std::exception");
        }
        return ring.left_ > 0 && --ring.left_ == 0 ? -EAGAIN : 0;
    }

    RingConsumer consumer_;
    RingFailure failure_;
    ring_buffer* ring_;
    unsigned left_ = 0; ///< records until the turn ends; 0: no limit
};

class LoopReader final : public RingReader {
public:
    LoopReader(const MapRef& map, boost::asio::any_io_executor executor, RingConsumer consumer, RingFailure failure)
        : ring_{map, std::move(consumer), std::move(failure)}, events_{executor, ring_.epoll_fd()}, tick_{executor}
    {
        wait_for_events();
        wait_for_tick();
    }
    ~LoopReader() override { events_.release(); } // the descriptor is libbpf's
    void drain() override { ring_.consume(0); }

private:
    void wait_for_events()
    {
        events_.async_wait(boost::asio::posix::descriptor_base::wait_read, [this](boost::system::error_code error) {
            if (error) return;
            ring_.consume(kRecordsPerTurn);
            wait_for_events();
        });
    }
    void wait_for_tick()
    {
        tick_.expires_after(std::chrono::milliseconds{100});
        tick_.async_wait([this](boost::system::error_code error) {
            if (error) return;
            ring_.consume(kRecordsPerTurn);
            wait_for_tick();
        });
    }

    static constexpr unsigned kRecordsPerTurn = 256;
    Ring ring_;
    boost::asio::posix::stream_descriptor events_;
    boost::asio::steady_timer tick_;
};

class ThreadReader final : public RingReader {
public:
    ThreadReader(const MapRef& map, RingConsumer consumer, RingFailure failure)
        : ring_{map, std::move(consumer), std::move(failure)}, thread_{[this](std::stop_token stop) { run(stop); }}
    {
    }
    void drain() override {}

private:
    void run(std::stop_token stop)
    {
        while (!stop.stop_requested()) {
            ring_.wait(std::chrono::milliseconds{10});
            ring_.consume(0); // poll() passes over records that were sent without a wake-up
        }
    }

    Ring ring_;
    std::jthread thread_; // last: stops and joins before the ring goes
};

class HandReader final : public RingReader {
public:
    HandReader(const MapRef& map, RingConsumer consumer, RingFailure failure)
        : ring_{map, std::move(consumer), std::move(failure)}
    {
    }
    void drain() override { ring_.consume(0); }

private:
    Ring ring_;
};

} // namespace

std::unique_ptr<RingReader> read_on_loop(const MapRef& ring, boost::asio::any_io_executor executor,
                                         RingConsumer consumer, RingFailure failure)
{
    return std::make_unique<LoopReader>(ring, std::move(executor), std::move(consumer), std::move(failure));
}

std::unique_ptr<RingReader> read_on_thread(const MapRef& ring, RingConsumer consumer, RingFailure failure)
{
    return std::make_unique<ThreadReader>(ring, std::move(consumer), std::move(failure));
}

std::unique_ptr<RingReader> read_by_hand(const MapRef& ring, RingConsumer consumer, RingFailure failure)
{
    return std::make_unique<HandReader>(ring, std::move(consumer), std::move(failure));
}

} // namespace evnf
