// SPDX-License-Identifier: MIT
#include "health.hpp"

#include <utility>

#include <fmt/format.h>

namespace evnf::lb {

namespace {

/// Probes at a time: each has a socket, and a server may leave it without an answer.
constexpr unsigned kMostUnderWay = 256;

} // namespace

class HealthChecks::Check : public std::enable_shared_from_this<Check> {
public:
    Check(HealthChecks& checks, const Service& service, const Backend& backend, bool up)
        : checks_{checks}, service_{service.name}, backend_{backend.name}, address_{backend.address}, port_{backend.port},
          health_{std::make_shared<const Health>(service.health)}, timer_{checks.executor_}, up_{up}
    {
    }

    bool is_of(const Service& service, const Backend& backend) const
    {
        return address_ == backend.address && port_ == backend.port && *health_ == service.health;
    }
    const std::string& result() const { return result_; }
    bool is_cancelled() const { return cancelled_; }

    /// Not all at once: the first probe comes at a random time within the interval.
    void start(std::mt19937& random)
    {
        const auto interval = std::chrono::steady_clock::duration{health_->interval};
        due_ = std::chrono::steady_clock::now() + interval / 1024 * (random() % 1024);
        wait();
    }

    void probe()
    {
        probe_ = start_probe(checks_.executor_, address_, port_, health_, [weak = weak_from_this()](const ProbeResult& result) {
            if (const auto self = weak.lock()) self->take(result);
        });
    }

    void cancel() noexcept
    {
        cancelled_ = true;
        timer_.cancel();
        if (!probe_) return;
        probe_->cancel();
        checks_.finished();
    }

private:
    void wait()
    {
        timer_.expires_at(due_);
        timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
            if (const auto self = weak.lock(); self && !error) self->checks_.run(self);
        });
    }

    void take(const ProbeResult& result)
    {
        probe_.reset();
        result_ = result.text;
        due_ = std::max(due_ + health_->interval, std::chrono::steady_clock::now());
        wait();
        checks_.finished();
        judge(result.good);
    }

    void judge(bool good)
    {
        against_ = good == up_ ? 0 : against_ + 1;
        if (against_ < (up_ ? health_->fall : health_->rise)) return;
        against_ = 0;
        up_ = good;
        checks_.report_(service_, backend_, up_, result_);
    }

    HealthChecks& checks_;
    const std::string service_, backend_;
    const Address address_;
    const std::uint16_t port_;
    const std::shared_ptr<const Health> health_;
    boost::asio::steady_timer timer_;
    std::chrono::steady_clock::time_point due_;
    bool cancelled_ = false;
    bool up_;
    unsigned against_ = 0; ///< results in a row that contradict it
    std::string result_;
    std::shared_ptr<Probe> probe_;
};

HealthChecks::HealthChecks(boost::asio::any_io_executor executor, Report report)
    : executor_{std::move(executor)}, report_{std::move(report)}, random_{std::random_device{}()}
{
}

void HealthChecks::adopt(const Settings& settings, const std::function<bool(const Service&, const Backend&)>& is_up)
{
    auto before = std::exchange(checks_, {});
    for (const auto& service : settings.services) {
        if (service.health.type == Health::Type::none) continue;
        for (const auto& backend : service.backends) {
            const auto name = service.full_name(backend);
            if (const auto known = before.find(name); known != before.end() && known->second->is_of(service, backend)) {
                checks_.insert(before.extract(known));
                continue;
            }
            const auto check = std::make_shared<Check>(*this, service, backend, is_up(service, backend));
            checks_.emplace(name, check);
            check->start(random_);
        }
    }
    for (const auto& [name, check] : before) check->cancel();
}

void HealthChecks::stop() noexcept
{
    waiting_.clear();
    for (const auto& [name, check] : checks_) check->cancel();
    checks_.clear();
}

std::string HealthChecks::result(const Service& service, const Backend& backend) const
{
    const auto check = checks_.find(service.full_name(backend));
    return check == checks_.end() ? std::string{} : check->second->result();
}

void HealthChecks::run(const std::shared_ptr<Check>& check)
{
    if (under_way_ == kMostUnderWay) return waiting_.push_back(check);
    ++under_way_;
    check->probe();
}

void HealthChecks::finished()
{
    --under_way_;
    while (!waiting_.empty()) {
        const auto next = waiting_.front().lock();
        waiting_.pop_front();
        if (next && !next->is_cancelled()) return run(next);
    }
}

} // namespace evnf::lb
