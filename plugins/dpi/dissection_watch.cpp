// SPDX-License-Identifier: MIT
#include "dissection_watch.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

namespace evnf::dpi {

namespace {

constexpr std::chrono::seconds kStuck{2};           // a packet takes microseconds
constexpr std::chrono::milliseconds kBetweenLooks{250};

} // namespace

void DissectionWatch::start()
{
    timer_.expires_after(kBetweenLooks);
    timer_.async_wait([this](const boost::system::error_code& cancelled) {
        if (cancelled) return;
        look();
        start();
    });
}

void DissectionWatch::look()
{
    const auto stuck = inspector_.stuck(kStuck);
    if (!stuck) return;
    host_.log().critical("worker {}: nDPI has spent {} s on one packet of flow {} (id {}): evnfd ends, traffic goes on, and the next "
                         "start does not inspect that flow",
                         stuck->worker, kStuck.count(), endpoints(stuck->crumb.key), static_cast<std::uint64_t>(stuck->crumb.id));
    host_.log().flush();
    std::abort();
}

} // namespace evnf::dpi
