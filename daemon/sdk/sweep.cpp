// SPDX-License-Identifier: MIT
#include <evnf/sweep.hpp>

#include <spdlog/spdlog.h>

namespace evnf {

namespace {

using namespace std::chrono_literals;

constexpr int kPartsPerTurn = 16;
constexpr auto kBetweenTurns = 100ms;

} // namespace

void Sweep::start()
{
    after(rest_);
}

void Sweep::stop() noexcept
{
    stopped_ = true;
    timer_.cancel();
}

void Sweep::after(std::chrono::milliseconds time)
{
    timer_.expires_after(time);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !stopped_) turn();
    });
}

void Sweep::turn()
{
    bool whole = false;
    try {
        for (int part = 0; part < kPartsPerTurn && !whole; ++part) whole = part_();
    } catch (const std::exception& error) {
        host_.log().error("{}: {}", what_, error.what());
        whole = true;
    }
    after(whole ? rest_ : kBetweenTurns);
}

} // namespace evnf
