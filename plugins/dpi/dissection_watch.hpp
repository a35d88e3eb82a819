// SPDX-License-Identifier: MIT
/// Ends the process when nDPI does not come back from a packet.
///
/// A thread that is in a dissector's endless loop cannot be ended alone: it may hold locks, and nDPI's state is half
/// changed. So the process goes, which systemd starts anew; the fast path forwards meanwhile, and keeps all that it knows.
/// The breadcrumb names the flow, and the next process leaves it alone.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <evnf/plugin.hpp>

#include "inspector.hpp"

namespace evnf::dpi {

class DissectionWatch {
public:
    DissectionWatch(Host& host, Inspector& inspector) : host_{host}, inspector_{inspector}, timer_{host.executor()} {}

    void start();
    void stop() noexcept { timer_.cancel(); }

private:
    void look();

    Host& host_;
    Inspector& inspector_;
    boost::asio::steady_timer timer_;
};

} // namespace evnf::dpi
