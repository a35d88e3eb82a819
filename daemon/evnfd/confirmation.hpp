// SPDX-License-Identifier: MIT
/// A reload on trial: unless somebody confirms it in time, the configuration before it comes back, so that nobody
/// locks himself out.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace evnf {

class Confirmation {
public:
    /// Takes the text of the configuration to go back to; must not throw.
    using GoBack = std::function<void(const std::string& configuration)>;

    Confirmation(boost::asio::io_context& io, GoBack go_back);

    /// From now on so long. A trial that is under way begins anew, and its way back stays, for what came since was not
    /// confirmed either.
    void expect(const std::string& before, std::chrono::milliseconds within);
    /// Throws std::runtime_error when there is nothing to confirm.
    void confirm();
    /// Rounded up; nothing when no confirmation is awaited.
    std::optional<std::chrono::seconds> left() const;

private:
    void expire();

    GoBack go_back_;
    boost::asio::steady_timer timer_;
    std::optional<std::string> before_; ///< while one is awaited
};

/// Reads "30s": ms, s, m or h; from 1 s to 1 h. Throws std::invalid_argument.
std::chrono::milliseconds read_trial_time(std::string_view text);

} // namespace evnf
