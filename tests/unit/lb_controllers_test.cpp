// SPDX-License-Identifier: MIT
/// What the feedback algorithms make of loads: of given ones, of silence, and of servers whose load follows their share.
#include "../../plugins/lb/controllers.hpp"

#include <cmath>
#include <numeric>
#include <random>

#include "catch.hpp"
#include "seed.hpp"

using Catch::Matchers::ContainsSubstring;
using evnf::lb::FeedbackAlgorithm;
using evnf::lb::FeedbackServer;
using evnf::lb::FeedbackServers;

namespace {

using Shares = std::vector<double>;
using Loads = std::vector<double>;

constexpr auto kAlgorithms = {FeedbackAlgorithm::balanced, FeedbackAlgorithm::dynamic_feedback, FeedbackAlgorithm::cube_root};

Shares shares_of(const FeedbackServers& servers)
{
    const auto total = std::accumulate(servers.begin(), servers.end(), 0.0,
                                       [](double sum, const auto& server) { return sum + server.weight(); });
    Shares shares;
    for (const auto& server : servers) shares.push_back(server.weight() / total);
    return shares;
}

/// A round in which every server answers.
Shares answer(FeedbackAlgorithm algorithm, FeedbackServers& servers, const Loads& loads)
{
    for (std::size_t i = 0; i < servers.size(); ++i) servers[i].answer = loads[i];
    decide(algorithm, servers);
    return shares_of(servers);
}

Shares answer(FeedbackAlgorithm algorithm, FeedbackServers& servers, const Loads& loads, int rounds)
{
    Shares shares;
    for (int round = 0; round < rounds; ++round) shares = answer(algorithm, servers, loads);
    return shares;
}

/// A round in which one server does not.
void silence(FeedbackAlgorithm algorithm, FeedbackServers& servers, std::size_t which)
{
    servers[which].answer.reset();
    servers[which].failure = "no answer for 12 s";
    decide(algorithm, servers);
}

bool falling(const Shares& shares)
{
    CAPTURE(shares);
    return std::adjacent_find(shares.begin(), shares.end(), std::less_equal<>{}) == shares.end();
}

/// How far a series goes back and forth: the lesser of its greatest fall and its greatest rise.
class Swing {
public:
    void see(double value)
    {
        top_ = std::max(top_, value);
        bottom_ = std::min(bottom_, value);
        fall_ = std::max(fall_, top_ - value);
        rise_ = std::max(rise_, value - bottom_);
    }
    double size() const { return std::min(fall_, rise_); }

private:
    double top_ = -1, bottom_ = 2, fall_ = 0, rise_ = 0;
};

/// Servers that are as busy as their share of the demand makes them.
class Cluster {
public:
    /// `capacities` and `demand` in the same unit; `lag`: rounds that the reported average looks back; 0: none.
    Cluster(std::vector<double> capacities, double demand, double lag, double noise, unsigned seed)
        : capacities_{std::move(capacities)}, demand_{demand}, keep_{lag > 0 ? std::exp(-1 / lag) : 0}, noise_{0, noise}, random_{seed}
    {
        servers.resize(capacities_.size());
        for (std::size_t i = 0; i < servers.size(); ++i) averages_.push_back(demand_ / static_cast<double>(servers.size()) / capacities_[i]);
    }

    Shares round(FeedbackAlgorithm algorithm)
    {
        const auto shares = shares_of(servers);
        Loads loads;
        for (std::size_t i = 0; i < servers.size(); ++i) {
            const double now = shares[i] * demand_ / capacities_[i];
            averages_[i] = keep_ * averages_[i] + (1 - keep_) * std::max(0.0, now + noise_(random_));
            loads.push_back(averages_[i]);
        }
        return answer(algorithm, servers, loads);
    }

    double worst_load() const { return *std::max_element(averages_.begin(), averages_.end()); }

    FeedbackServers servers;

private:
    std::vector<double> capacities_, averages_;
    double demand_, keep_;
    std::normal_distribution<double> noise_;
    std::mt19937 random_;
};

} // namespace

TEST_CASE("lb controllers: given loads settle in the right order within 6 rounds, and stay")
{
    const auto algorithm = GENERATE(FeedbackAlgorithm::balanced, FeedbackAlgorithm::dynamic_feedback);
    FeedbackServers servers(4);
    const Loads loads{0.1, 0.3, 0.6, 0.9};
    const auto settled = answer(algorithm, servers, loads, 6);
    CHECK(falling(settled));
    for (int round = 0; round < 50; ++round) {
        const auto shares = answer(algorithm, servers, loads);
        for (std::size_t i = 0; i < shares.size(); ++i) CHECK(std::abs(shares[i] - settled[i]) < 0.005);
    }
}

TEST_CASE("lb controllers: cube-root has the right order on its way, and its fixed point is the greatest weight for all")
{
    FeedbackServers servers(4);
    const Loads loads{0.1, 0.3, 0.6, 0.9};
    CHECK(falling(answer(FeedbackAlgorithm::cube_root, servers, loads, 6)));
    CHECK(falling(answer(FeedbackAlgorithm::cube_root, servers, loads, 150)));
    answer(FeedbackAlgorithm::cube_root, servers, loads, 500);
    for (const auto& server : servers) CHECK(server.factor == 10);
    answer(FeedbackAlgorithm::cube_root, servers, {2, 2, 2, 2}, 500);
    for (const auto& server : servers) CHECK(server.factor == 1);
}

TEST_CASE("lb controllers: shares return when the loads equalise")
{
    for (const auto algorithm : {FeedbackAlgorithm::balanced, FeedbackAlgorithm::dynamic_feedback}) {
        FeedbackServers servers(4);
        answer(algorithm, servers, {0.1, 0.3, 0.6, 0.9}, 30);
        for (const double share : answer(algorithm, servers, {0.4, 0.4, 0.4, 0.4}, 20)) CHECK(share == Approx(0.25).margin(0.002));
    }
}

TEST_CASE("lb controllers: shares follow the configured weights")
{
    for (const auto algorithm : kAlgorithms) {
        FeedbackServers servers(2);
        servers[0].configured = 300;
        const auto shares = answer(algorithm, servers, {0.5, 0.5}, 10);
        CHECK(shares[0] == Approx(0.75).margin(0.001));
    }
}

TEST_CASE("lb controllers: when all servers are overloaded the configured weights count")
{
    for (const auto algorithm : kAlgorithms) {
        FeedbackServers servers(3);
        answer(algorithm, servers, {0.1, 0.5, 0.9}, 20);
        answer(algorithm, servers, {1.5, 4, 80}, 300);
        for (const auto& server : servers) CHECK(server.factor == Approx(1));
    }
}

TEST_CASE("lb controllers: no load makes a weight zero")
{
    for (const auto algorithm : kAlgorithms) {
        FeedbackServers servers(2);
        answer(algorithm, servers, {1e300, 0}, 100);
        CHECK(servers[0].weight() > 0);
        CHECK(std::isfinite(servers[0].weight()));
        CHECK(servers[1].weight() > servers[0].weight());
    }
}

TEST_CASE("lb controllers: a server that has fallen silent keeps its weight for two rounds, then has that of a server of whom nothing is known")
{
    FeedbackServers servers(3);
    answer(FeedbackAlgorithm::balanced, servers, {0.1, 0.5, 0.9}, 10);
    const double before = servers[2].factor;
    REQUIRE(before < 0.5);
    silence(FeedbackAlgorithm::balanced, servers, 2);
    silence(FeedbackAlgorithm::balanced, servers, 2);
    CHECK(servers[2].factor == Approx(before).epsilon(0.01));
    CHECK_THAT(servers[2].why, ContainsSubstring("no answer for 12 s: load 0.90 above"));
    silence(FeedbackAlgorithm::balanced, servers, 2);
    CHECK(servers[2].factor > before);
    CHECK(servers[2].factor < 1);
    CHECK_THAT(servers[2].why, ContainsSubstring("no answer for 12 s: back to the configured weight"));
    for (int round = 0; round < 10; ++round) silence(FeedbackAlgorithm::balanced, servers, 2);
    CHECK(servers[2].factor == 1);
    CHECK_FALSE(servers[2].load);
}

TEST_CASE("lb controllers: dynamic-feedback takes a silent server for as free as the mean")
{
    FeedbackServers servers(3);
    answer(FeedbackAlgorithm::dynamic_feedback, servers, {0.1, 0.3, 0.9});
    for (int round = 0; round < 3; ++round) silence(FeedbackAlgorithm::dynamic_feedback, servers, 2);
    CHECK(servers[2].weight() == Approx(80)); // between 9 and 7 tenths
}

TEST_CASE("lb controllers: when nobody answers the configured weights count")
{
    for (const auto algorithm : kAlgorithms) {
        FeedbackServers servers(2);
        answer(algorithm, servers, {0.1, 0.9}, 10);
        for (int round = 0; round < 50; ++round) {
            for (auto& server : servers) server.answer.reset();
            decide(algorithm, servers);
        }
        for (const auto& server : servers) CHECK(server.factor == 1);
    }
}

TEST_CASE("lb controllers: the paper's weights are the free tenths")
{
    FeedbackServers servers(4);
    servers[3].configured = 50;
    answer(FeedbackAlgorithm::dynamic_feedback, servers, {0.04, 0.31, 0.96, 0.5});
    CHECK(servers[0].weight() == Approx(100));
    CHECK(servers[1].weight() == Approx(70));
    CHECK(servers[2].weight() == Approx(1)); // the prototype keeps a slot for it
    CHECK(servers[3].weight() == Approx(25));
}

TEST_CASE("lb controllers: balanced moves in steps and between clamps, and says so")
{
    FeedbackServers servers(2);
    answer(FeedbackAlgorithm::balanced, servers, {0, 5});
    CHECK(servers[0].factor == Approx(1.3));
    CHECK_THAT(servers[0].why, ContainsSubstring("load 0.00 below the mean 2.00: +30 % on the way to +300 %"));
    answer(FeedbackAlgorithm::balanced, servers, {0, 5}, 20);
    CHECK_THAT(servers[1].why, ContainsSubstring("load 5.00 above the mean 2.00: -75 %"));
    FeedbackServers many(10);
    answer(FeedbackAlgorithm::balanced, many, {0, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 20);
    CHECK(many[0].factor == 4);
}

TEST_CASE("lb controllers: loads within 3 points of the mean change nothing")
{
    FeedbackServers servers(2);
    answer(FeedbackAlgorithm::balanced, servers, {0.47, 0.53}, 10);
    CHECK(servers[0].factor == Approx(1));
    CHECK(servers[1].factor == Approx(1));
}

TEST_CASE("lb controllers: balanced, servers of different capacity: the right order in 6 rounds, no oscillation above 3 points in 50")
{
    const auto seed = evnf::test::seed_of_test();
    // The load average of one minute at an interval of 5 s, which smooths much noise away; a shorter one; none.
    const double lag = GENERATE(12.0, 3.0, 0.0);
    const double demand = GENERATE(2.0, 5.0, 8.0, 9.5);
    CAPTURE(lag, demand);
    Cluster cluster{{4, 3, 2, 1}, demand, lag, lag > 5 ? 0.03 : 0.01, seed};
    const double before = cluster.worst_load();
    for (int round = 0; round < 5; ++round) cluster.round(FeedbackAlgorithm::balanced);
    std::vector<Swing> swings(4);
    for (int round = 0; round < 51; ++round) {
        const auto shares = cluster.round(FeedbackAlgorithm::balanced);
        if (demand > 2) CHECK(falling(shares)); // below, the differences are in the dead band
        for (std::size_t i = 0; i < shares.size(); ++i) swings[i].see(shares[i]);
    }
    for (const auto& swing : swings) CHECK(swing.size() < 0.03);
    if (demand > 2) CHECK(cluster.worst_load() < before);
}
