// SPDX-License-Identifier: MIT
#include "confirmation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <stdexcept>
#include <utility>

namespace evnf {

using namespace std::chrono_literals;

Confirmation::Confirmation(boost::asio::io_context& io, GoBack go_back) : go_back_{std::move(go_back)}, timer_{io} {}

void Confirmation::expect(const std::string& before, std::chrono::milliseconds within)
{
    if (!before_) before_ = before;
    timer_.expires_after(within);
    timer_.async_wait([this](boost::system::error_code error) {
        if (!error) expire();
    });
}

void Confirmation::confirm()
{
    if (!before_) throw std::runtime_error{"there is nothing to confirm: no 'reload --confirm' is waiting, or its time was over"};
    before_.reset();
    timer_.cancel();
}

std::optional<std::chrono::seconds> Confirmation::left() const
{
    if (!before_) return std::nullopt;
    return std::max(0s, std::chrono::ceil<std::chrono::seconds>(timer_.expiry() - std::chrono::steady_clock::now()));
}

/// A timer that was put off or cancelled when it had just run out still ends up here.
void Confirmation::expire()
{
    if (!before_ || timer_.expiry() > std::chrono::steady_clock::now()) return;
    go_back_(*std::exchange(before_, std::nullopt));
}

std::chrono::milliseconds read_trial_time(std::string_view text)
{
    static constexpr std::array<std::pair<std::string_view, std::chrono::milliseconds>, 4> units{{{"ms", 1ms}, {"s", 1s}, {"m", 1min}, {"h", 1h}}};
    std::uint32_t count = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), count);
    const std::string_view name{end, static_cast<std::size_t>(text.data() + text.size() - end)};
    const auto unit = std::find_if(units.begin(), units.end(), [&](const auto& candidate) { return candidate.first == name; });
    if (failed == std::errc{} && unit != units.end())
        if (const auto time = count * unit->second; time >= 1s && time <= 1h) return time;
    throw std::invalid_argument{fmt::format("--confirm takes a time from 1s to 1h such as 30s or 5m, not '{}'", text)};
}

} // namespace evnf
