// SPDX-License-Identifier: MIT
/// `daemon.metrics`: GET /metrics over HTTP.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>

#include <evnf/address.hpp>

namespace evnf {

/// Answers one request on each connection, on the loop's thread. Bounded, whoever asks: 16 connections at once, others are
/// closed unread; 5 seconds and 8 kB for a request, 5 seconds to take the answer.
class MetricsServer {
public:
    /// Listens. Throws std::runtime_error that names the endpoint. `text` makes the answer; what it throws is a status 500.
    MetricsServer(boost::asio::io_context& io, const Endpoint& endpoint, std::function<std::string()> text);
    /// Requests that are being answered still are.
    ~MetricsServer();

    const Endpoint& endpoint() const noexcept { return endpoint_; }

private:
    class Listener;
    class Session;

    Endpoint endpoint_;
    std::shared_ptr<Listener> listener_; ///< shared with the handlers that wait
};

} // namespace evnf
