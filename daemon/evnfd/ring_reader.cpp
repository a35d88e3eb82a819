// SPDX-License-Identifier: MIT
#include "ring_reader.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <atomic>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <stop_token>
#include <thread>
#include <utility>

namespace evnf {

namespace {

constexpr unsigned kRecordsPerTurn = 256;
constexpr const char* kConsumer = "a ring's consumer";

/// A libbpf ring with its consumer.
class Ring {
public:
    Ring(const MapRef& map, RingConsumer consumer, std::shared_ptr<Guard> guard)
        : consumer_{std::move(consumer)}, guard_{std::move(guard)}
    {
        ring_ = ring_buffer__new(map.fd(), &Ring::on_record, this, nullptr);
        if (!ring_) throw_errno(errno, fmt::format("cannot read ring buffer {}", map.name()));
    }
    ~Ring() { ring_buffer__free(ring_); }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    int epoll_fd() const { return ring_buffer__epoll_fd(ring_); }
    bool open() const { return guard_->open(); }
    /// One turn; true when there is more.
    bool consume()
    {
        left_ = kRecordsPerTurn;
        return open() && ring_buffer__consume(ring_) == -EAGAIN && open();
    }

private:
    static int on_record(void* self, void* data, std::size_t size)
    {
        auto& ring = *static_cast<Ring*>(self);
        ring.guard_->run(kConsumer, [&] { ring.consumer_({static_cast<const std::byte*>(data), size}); });
        return --ring.left_ == 0 || !ring.open() ? -EAGAIN : 0;
    }

    RingConsumer consumer_;
    std::shared_ptr<Guard> guard_;
    ring_buffer* ring_;
    unsigned left_ = 0; ///< records until the turn ends
};

/// Its handlers are the guard's, so that none of them runs in quarantine.
class LoopReader final : public RingReader {
public:
    LoopReader(const MapRef& map, boost::asio::any_io_executor executor, RingConsumer consumer, std::shared_ptr<Guard> guard)
        : ring_{map, std::move(consumer), std::move(guard)}, events_{executor, ring_.epoll_fd()}, tick_{executor}
    {
        wait_for_events();
        wait_for_tick();
    }
    ~LoopReader() override { events_.release(); } // the descriptor is libbpf's
    bool idle() override { return !ring_.consume(); }

private:
    void wait_for_events()
    {
        events_.async_wait(boost::asio::posix::descriptor_base::wait_read, [this, here = std::weak_ptr{here_}](boost::system::error_code error) {
            if (error || here.expired()) return;
            ring_.consume(); // what is left keeps the ring readable
            wait_for_events();
        });
    }
    void wait_for_tick()
    {
        tick_.expires_after(std::chrono::milliseconds{100});
        tick_.async_wait([this, here = std::weak_ptr{here_}](boost::system::error_code error) {
            if (!error && !here.expired()) turn();
        });
    }
    /// The loop's other handlers have their turn before the next one of this ring.
    void turn()
    {
        if (ring_.consume())
            boost::asio::post(tick_.get_executor(), [this, here = std::weak_ptr{here_}] {
                if (!here.expired()) turn();
            });
        else
            wait_for_tick();
    }

    Ring ring_;
    boost::asio::posix::stream_descriptor events_;
    boost::asio::steady_timer tick_;
    std::shared_ptr<bool> here_ = std::make_shared<bool>(); ///< expired: a handler that was due already must not run
};

class ThreadReader final : public RingReader {
public:
    ThreadReader(const MapRef& map, RingConsumer consumer, std::shared_ptr<Guard> guard)
        : ring_{map, std::move(consumer), std::move(guard)}, thread_{[this](std::stop_token stop) { run(stop); }}
    {
    }
    bool progressed() override
    {
        const auto turns = turns_.load();
        return std::exchange(seen_turns_, turns) != turns;
    }
    bool idle() override { return idle_; }

private:
    void run(std::stop_token stop)
    {
        while (!stop.stop_requested() && ring_.open()) {
            idle_ = false;
            const bool more = ring_.consume();
            idle_ = !more;
            if (!more) wait();
            ++turns_;
        }
    }
    /// For a wake-up, but not for long: most records are sent without one.
    void wait() const
    {
        pollfd ring{.fd = ring_.epoll_fd(), .events = POLLIN, .revents = 0};
        poll(&ring, 1, 10);
    }

    Ring ring_;
    std::atomic<std::uint64_t> turns_{0};
    std::uint64_t seen_turns_ = 0;
    std::atomic<bool> idle_{false};
    std::jthread thread_; // last: stops and joins before the ring goes
};

class HandReader final : public RingReader {
public:
    HandReader(const MapRef& map, RingConsumer consumer, std::shared_ptr<Guard> guard)
        : ring_{map, std::move(consumer), std::move(guard)}
    {
    }
    void drain() override
    {
        while (ring_.consume()) {}
    }

private:
    Ring ring_;
};

} // namespace

std::unique_ptr<RingReader> read_on_loop(const MapRef& ring, boost::asio::any_io_executor executor,
                                         RingConsumer consumer, std::shared_ptr<Guard> guard)
{
    return std::make_unique<LoopReader>(ring, std::move(executor), std::move(consumer), std::move(guard));
}

std::unique_ptr<RingReader> read_on_thread(const MapRef& ring, RingConsumer consumer, std::shared_ptr<Guard> guard)
{
    return std::make_unique<ThreadReader>(ring, std::move(consumer), std::move(guard));
}

std::unique_ptr<RingReader> read_by_hand(const MapRef& ring, RingConsumer consumer, std::shared_ptr<Guard> guard)
{
    return std::make_unique<HandReader>(ring, std::move(consumer), std::move(guard));
}

} // namespace evnf
