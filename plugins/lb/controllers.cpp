// SPDX-License-Identifier: MIT
#include "controllers.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace evnf::lb {

namespace {

// balanced. A factor follows the imbalance, it does not sum it up: a load that never answers to the weight (another
// program's) ends in a steady share, not at a clamp. README.md says what the figures mean.
constexpr double kSmoothing = 0.35;
constexpr double kDeadBand = 0.03;
constexpr double kGain = 2.5;
constexpr double kStep = 1.3;
constexpr double kMost = 4;
constexpr double kLittle = 0.3;    // load beside which differences matter less and less
constexpr double kMostLoad = 4;    // one server in despair must not make the others look idle
constexpr double kScarceRoom = 0.1; // of the least loaded server; below it, decisions fade

// dynamic-feedback
constexpr double kTenths = 10;
constexpr double kLeastFree = 0.01;

// cube-root
constexpr double kGrowth = 0.05;
constexpr double kTargetLoad = 0.95;
constexpr double kScale = 10;

void take_answer(FeedbackServer& server, double smoothing)
{
    if (server.answer) {
        server.load = server.load ? *server.load + smoothing * (*server.answer - *server.load) : *server.answer;
        server.missed = 0;
    } else if (++server.missed > kRoundsHeld) {
        server.load.reset();
    }
}

/// Over the servers whose load is known, weighted as configured; nothing when there is none.
template <class Value>
std::optional<double> mean(const FeedbackServers& servers, Value value)
{
    double sum = 0, weights = 0;
    for (const auto& server : servers) {
        if (!server.load) continue;
        sum += server.configured * value(server);
        weights += server.configured;
    }
    if (weights == 0) return std::nullopt;
    return sum / weights;
}

std::string percent(double factor)
{
    return fmt::format("{:+.0f} %", 100 * (factor - 1));
}

/// What is said before a decision about a server that did not answer in this round.
std::string silence(const FeedbackServer& server)
{
    return server.answer ? "" : server.failure + ": ";
}

// ---------------------------------------------------------------- balanced

/// What the servers of a service look like together.
struct Outlook {
    double mean_load;
    double room; ///< 1: there is a server to move load to; 0: all are overloaded
};

std::optional<Outlook> outlook_of(const FeedbackServers& servers)
{
    const auto mean_load = mean(servers, [](const auto& server) { return std::min(*server.load, kMostLoad); });
    if (!mean_load) return std::nullopt;
    double least = kMostLoad;
    for (const auto& server : servers) least = std::min(least, server.load.value_or(kMostLoad));
    return Outlook{*mean_load, std::clamp((1 - least) / kScarceRoom, 0.0, 1.0)};
}

/// The power law makes the loop's gain the same at all loads: a server's load is in proportion to its weight.
double balanced_target(double load, const Outlook& outlook)
{
    const double error = std::min(load, kMostLoad) - outlook.mean_load;
    const double counted = outlook.mean_load + std::copysign(std::max(0.0, std::abs(error) - kDeadBand), error);
    const double ratio = (outlook.mean_load + kLittle) / (counted + kLittle);
    return std::clamp(std::pow(ratio, kGain * outlook.room), 1 / kMost, kMost);
}

std::string why_balanced(const FeedbackServer& server, const std::optional<Outlook>& outlook, double target)
{
    const auto way = server.factor == target ? percent(server.factor)
                                             : fmt::format("{} on the way to {}", percent(server.factor), percent(target));
    if (!server.load) return fmt::format("{}back to the configured weight, {}", silence(server), way);
    if (outlook->room == 0) return fmt::format("{}all servers are overloaded: back to the configured weights, {}", silence(server), way);
    const double error = *server.load - outlook->mean_load;
    const auto* side = std::abs(error) <= kDeadBand ? "about the" : error > 0 ? "above the" : "below the";
    return fmt::format("{}load {:.2f} {} mean {:.2f}: {}", silence(server), *server.load, side, outlook->mean_load, way);
}

void balanced(FeedbackServers& servers)
{
    for (auto& server : servers) take_answer(server, kSmoothing);
    const auto outlook = outlook_of(servers);
    for (auto& server : servers) {
        const double target = server.load ? balanced_target(*server.load, *outlook) : 1;
        server.factor = std::clamp(target, server.factor / kStep, server.factor * kStep);
        server.why = why_balanced(server, outlook, target);
    }
}

// ---------------------------------------------------------------- dynamic-feedback

double free_tenths(const FeedbackServer& server)
{
    return kTenths - std::min(kTenths, std::round(kTenths * *server.load));
}

void dynamic_feedback(FeedbackServers& servers)
{
    for (auto& server : servers) take_answer(server, 1);
    const auto mean_free = mean(servers, free_tenths);
    for (auto& server : servers) {
        if (!mean_free || *mean_free == 0) {
            server.factor = 1;
            server.why = fmt::format("{}{}: configured weight", silence(server), mean_free ? "no server is free" : "no load is known");
        } else if (!server.load) {
            server.factor = std::max(*mean_free / kTenths, kLeastFree);
            server.why = fmt::format("{}as free as the mean", silence(server));
        } else {
            server.factor = std::max(free_tenths(server) / kTenths, kLeastFree);
            server.why = fmt::format("{}load {:.2f}: {:.0f} tenths free", silence(server), *server.load, free_tenths(server));
        }
    }
}

// ---------------------------------------------------------------- cube-root

void cube_root(FeedbackServers& servers)
{
    for (auto& server : servers) {
        take_answer(server, 1);
        const double change = kGrowth * (server.load ? std::cbrt(kTargetLoad - *server.load) : -1);
        server.factor = std::clamp(server.factor + change, 1.0, kScale);
        server.why = server.load ? fmt::format("{}load {:.2f}, {:+.1f} % a round: {}", silence(server), *server.load, 100 * change,
                                               percent(server.factor))
                                 : fmt::format("{}back to the configured weight, {}", silence(server), percent(server.factor));
    }
}

} // namespace

void decide(FeedbackAlgorithm algorithm, FeedbackServers& servers)
{
    switch (algorithm) {
        case FeedbackAlgorithm::balanced:
            return balanced(servers);
        case FeedbackAlgorithm::dynamic_feedback:
            return dynamic_feedback(servers);
        case FeedbackAlgorithm::cube_root:
            return cube_root(servers);
    }
}

} // namespace evnf::lb
