// SPDX-License-Identifier: MIT
#include "feedback.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/json/object.hpp>
#include <cmath>
#include <random>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include "load_reader.hpp"

namespace evnf::lb {

namespace json = boost::json;

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr double kJitter = 0.05;       // of the interval: balancers and services that start together do not ask together for ever
constexpr double kWorthALine = 0.01;   // of a weight

double seconds_since(Clock::time_point time)
{
    return std::chrono::duration<double>(Clock::now() - time).count();
}

std::string_view why_at_rest(BackendState state)
{
    switch (state) {
        case BackendState::drain:
            return "drained: takes no new connections";
        case BackendState::down:
            return "down: takes no new connections";
        case BackendState::active:
            break;
    }
    return "weight 0: takes no new connections";
}

} // namespace

json::value number_or_null(std::optional<double> value)
{
    return value ? json::value(std::round(*value * 1000) / 1000) : json::value(nullptr);
}

/// One service: a round of questions, a decision, a pause.
class Feedback::Loop : public std::enable_shared_from_this<Loop> {
public:
    Loop(Host& host, std::shared_ptr<const Settings> settings, const Service& service, Steering& steering)
        : host_{host}, settings_{std::move(settings)}, service_{service}, steering_{steering}, timer_{host.executor()}
    {
    }

    const Service& service() const { return service_; }

    void add(const Backend& backend, std::shared_ptr<const SnmpCredentials> credentials, const Loop* before)
    {
        Member member{&backend, std::make_unique<LoadReader>(host_.executor(), backend.address, backend.load_source, std::move(credentials),
                                                             service_.feedback->timeout)};
        if (const auto* known = before ? before->find(backend.name) : nullptr; known && before->asks_as(*this, *known, backend)) {
            member.server = known->server;
            member.raw = known->raw;
            member.answered = known->answered;
        } else {
            member.server.factor = initial_factor(backend);
            member.server.why = "not asked yet";
        }
        members_.push_back(std::move(member));
    }

    void start() { wait(std::min(service_.feedback->interval, milliseconds{100}) * chance_()); }

    json::array show() const
    {
        json::array rows;
        for (const auto& member : members_) rows.push_back(show(member));
        return rows;
    }

    std::optional<double> load(std::string_view backend) const
    {
        const auto* member = find(backend);
        return member ? member->server.load : std::nullopt;
    }

private:
    struct Member {
        const Backend* backend;
        std::unique_ptr<LoadReader> reader;
        FeedbackServer server;
        std::optional<double> raw;                ///< the latest answer
        std::optional<Clock::time_point> answered; ///< when it came
        Clock::time_point since = Clock::now();
        SnmpAnswer outcome; ///< of this round
        bool told = false;  ///< that it is silent
    };

    /// A uniform choice from [0, 1).
    class Chance {
    public:
        double operator()() { return distribution_(random_); }

    private:
        std::minstd_rand random_{std::random_device{}()};
        std::uniform_real_distribution<double> distribution_;
    };

    const Member* find(std::string_view backend) const
    {
        const auto found = std::find_if(members_.begin(), members_.end(), [&](const Member& member) { return member.backend->name == backend; });
        return found == members_.end() ? nullptr : &*found;
    }

    bool asks_as(const Loop& other, const Member& member, const Backend& backend) const
    {
        return service_.feedback->algorithm == other.service_.feedback->algorithm && member.backend->load_source == backend.load_source &&
               member.backend->address == backend.address;
    }

    /// Where an earlier daemon has left the weight.
    double initial_factor(const Backend& backend) const
    {
        const auto& steered = steering_.standing(service_, backend).steered;
        return steered.has_feedback && steered.feedback ? steered.feedback / double{LB_FEEDBACK_ONE} : 1;
    }

    void wait(std::chrono::duration<double, std::milli> time)
    {
        timer_.expires_after(std::chrono::duration_cast<Clock::duration>(time));
        timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
            if (const auto self = weak.lock(); self && !error) self->ask();
        });
    }

    void ask()
    {
        asked_ = Clock::now();
        open_ = members_.size();
        for (auto& member : members_)
            member.reader->read([this, &member](SnmpAnswer answer) {
                member.outcome = std::move(answer);
                if (--open_ == 0) conclude();
            });
    }

    void conclude()
    {
        const milliseconds interval = service_.feedback->interval;
        const auto pause = interval * (1 + kJitter * (2 * chance_() - 1)) - std::chrono::duration<double, std::milli>(Clock::now() - asked_);
        wait(std::max(pause, std::chrono::duration<double, std::milli>{0}));
        for (auto& member : members_) take(member);
        decide();
        for (auto& member : members_) tell_of_silence(member);
        steering_.publish();
    }

    static void take(Member& member)
    {
        auto& server = member.server;
        server.configured = member.backend->weight;
        server.answer = member.outcome.value;
        if (server.answer) {
            member.raw = server.answer;
            member.answered = Clock::now();
        } else {
            server.failure = fmt::format("no load for {:.0f} s ({})", seconds_since(member.answered.value_or(member.since)), member.outcome.failure);
        }
    }

    /// Among the servers that take new connections; what the others say is shown only.
    void decide()
    {
        std::vector<Member*> deciding;
        FeedbackServers servers;
        for (auto& member : members_) {
            const auto state = steering_.standing(service_, *member.backend).state;
            if (state == BackendState::active && member.backend->weight > 0) {
                deciding.push_back(&member);
                servers.push_back(member.server);
            } else {
                member.server.load = member.server.answer;
                member.server.why = why_at_rest(state);
            }
        }
        lb::decide(service_.feedback->algorithm, servers);
        std::vector<std::string> changes;
        for (std::size_t i = 0; i < servers.size(); ++i) {
            auto& server = deciding[i]->server;
            const auto& name = deciding[i]->backend->name;
            if (std::abs(servers[i].factor / server.factor - 1) > kWorthALine)
                changes.push_back(fmt::format("{} {:.0f} -> {:.0f}", name, server.weight(), servers[i].weight()));
            server = std::move(servers[i]);
            steering_.set_feedback(service_.name, name, server.weight());
        }
        if (!changes.empty()) host_.log().debug("{}: weights by feedback: {}", service_.name, fmt::join(changes, ", "));
    }

    /// Once when a server's load does not count any more, once when it is known again: two lines in kRoundsHeld rounds at most.
    void tell_of_silence(Member& member)
    {
        const bool silent = member.server.missed > kRoundsHeld;
        if (silent == member.told) return;
        member.told = silent;
        if (silent)
            host_.log().warn("{}: feedback: {}", service_.full_name(*member.backend), member.server.failure);
        else
            host_.log().info("{}: feedback: its load is known again", service_.full_name(*member.backend));
    }

    json::object show(const Member& member) const
    {
        const auto standing = steering_.standing(service_, *member.backend);
        return {{"service", service_.name},
                {"backend", member.backend->name},
                {"raw", number_or_null(member.raw)},
                {"load", number_or_null(member.server.load)},
                {"weight", member.backend->weight},
                {"effective_weight", std::lround(standing.weight)},
                {"slots", standing.slots},
                {"answered_s", member.answered ? json::value(static_cast<std::uint64_t>(seconds_since(*member.answered))) : json::value(nullptr)},
                {"why", member.server.why}};
    }

    Host& host_;
    std::shared_ptr<const Settings> settings_;
    const Service& service_;
    Steering& steering_;
    boost::asio::steady_timer timer_;
    std::vector<Member> members_;
    Clock::time_point asked_;
    std::size_t open_ = 0; ///< questions without an outcome
    Chance chance_;
};

Feedback::Feedback(Host& host) : host_{host} {}
Feedback::~Feedback() = default;

void Feedback::adopt(std::shared_ptr<const Settings> settings, Steering& steering)
{
    const auto before = std::exchange(loops_, {});
    const auto known_credentials = std::exchange(credentials_, {});
    for (const auto& service : settings->services) {
        if (!service.feedback) continue;
        auto loop = std::make_shared<Loop>(host_, settings, service, steering);
        const auto known = std::find_if(before.begin(), before.end(), [&](const auto& old) { return old->service().name == service.name; });
        for (const auto& backend : service.backends)
            loop->add(backend, credentials_for(backend.load_source.identity, known_credentials), known == before.end() ? nullptr : known->get());
        loop->start();
        loops_.push_back(std::move(loop));
    }
}

void Feedback::stop() noexcept
{
    loops_.clear();
}

std::shared_ptr<const SnmpCredentials> Feedback::credentials_for(const SnmpIdentity& identity, const Credentials& known)
{
    for (const auto* list : {&std::as_const(credentials_), &known})
        for (const auto& [whose, credentials] : *list)
            if (whose == identity) return list == &known ? credentials_.emplace_back(identity, credentials).second : credentials;
    return credentials_.emplace_back(identity, make_snmp_credentials(identity)).second;
}

json::array Feedback::show(std::string_view service) const
{
    json::array rows;
    for (const auto& loop : loops_) {
        if (!service.empty() && loop->service().name != service) continue;
        for (auto& row : loop->show()) rows.push_back(std::move(row));
    }
    if (rows.empty() && !service.empty()) throw std::runtime_error{fmt::format("no service with feedback is named '{}'", service)};
    return rows;
}

std::optional<double> Feedback::load(const Service& service, const Backend& backend) const
{
    for (const auto& loop : loops_)
        if (loop->service().name == service.name) return loop->load(backend.name);
    return std::nullopt;
}

} // namespace evnf::lb
