// SPDX-License-Identifier: MIT
/// One look at a server, as its clients would: a TCP connection, or an HTTP request on it. Boost.Beast is this file's affair.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <string>

#include <evnf/address.hpp>

#include "settings.hpp"

namespace evnf::lb {

struct ProbeResult {
    bool good;
    std::string text; ///< "connected", "status 200", "connection refused", …
};

class Probe {
public:
    virtual ~Probe() = default;
    /// `done` is not called any more.
    virtual void cancel() noexcept = 0;
};

/// Calls `done` once, on the executor and never before this returns, at the latest after the timeout. `health` is read
/// meanwhile.
std::shared_ptr<Probe> start_probe(const boost::asio::any_io_executor& executor, const Address& address, std::uint16_t port,
                                   std::shared_ptr<const Health> health, std::function<void(const ProbeResult&)> done);

} // namespace evnf::lb
