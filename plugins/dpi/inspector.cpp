// SPDX-License-Identifier: MIT
#include "inspector.hpp"

#include <netinet/ip.h>

#include <algorithm>
#include <cstring>

namespace evnf::dpi {

Inspector::Inspector(unsigned jiffies_per_second)
{
    for (unsigned number = 0; number < DPI_MAX_WORKERS; ++number)
        workers_.push_back(std::make_unique<Worker>(number, jiffies_per_second));
}

void Inspector::use(std::shared_ptr<const Engines> engines, VerdictSink sink)
{
    const std::lock_guard lock{mutex_};
    engines_ = std::move(engines);
    sink_ = std::move(sink);
}

std::vector<dpi_breadcrumb> Inspector::recover(std::shared_ptr<Breadcrumbs> crumbs)
{
    crumbs_ = std::move(crumbs);
    auto poisonous = crumbs_->collect();
    for (const auto& crumb : poisonous) deliver({crumb.key, crumb.id, DPI_GAVE_UP, {}});
    return poisonous;
}

std::shared_ptr<const Engines> Inspector::engines() const
{
    const std::shared_lock lock{mutex_};
    return engines_;
}

bool Inspector::deliver(const Verdict& verdict) const
{
    const std::shared_lock lock{mutex_};
    return sink_(verdict);
}

void Inspector::inspect(unsigned worker, std::span<const std::byte> record)
{
    dpi_copy copy;
    if (record.size() < sizeof copy) return;
    std::memcpy(&copy, record.data(), sizeof copy);
    const auto packet = record.subspan(sizeof copy, std::min<std::size_t>(copy.length, record.size() - sizeof copy));
    if (packet.size() < sizeof(iphdr)) return;

    if (moves_) take_over(worker, copy.id);
    const auto all = engines();
    // What is left in the ring of a worker that has no engine any more.
    const auto& engine = all->of(worker < all->workers() ? worker : 0);
    workers_.at(worker)->inspect(copy, packet, engine, *crumbs_, [this](const Verdict& verdict) { return deliver(verdict); });
}

void Inspector::take_over(unsigned worker, std::uint64_t id)
{
    if (workers_.at(worker)->has(id)) return;
    for (const auto& other : workers_)
        if (other->has(id)) return workers_[worker]->adopt(other->extract(id));
}

std::optional<Knowledge> Inspector::find(std::uint64_t id) const
{
    for (const auto& worker : workers_)
        if (auto known = worker->find(id)) return known;
    return std::nullopt;
}

Knowledge Inspector::describe(const dpi_key& key, const dpi_flow& flow) const
{
    for (const auto& worker : workers_)
        if (auto known = worker->describe(dpi_verdict_id(flow.verdict))) return *known;
    return {flow.flags & DPI_FLOW_PAYLOAD ? DPI_INSPECTING : DPI_NEW, engines()->for_questions().guess(key, flow.initiator)};
}

Label Inspector::finish(const dpi_key& key, const dpi_flow& flow)
{
    for (const auto& worker : workers_)
        if (auto label = worker->finish(dpi_verdict_id(flow.verdict))) return *std::move(label);
    return engines()->for_questions().guess(key, flow.initiator);
}

void Inspector::prune(std::size_t count, const std::function<bool(const dpi_key&, std::uint64_t)>& is_alive)
{
    for (const auto& worker : workers_) worker->prune(count, is_alive);
}

std::size_t Inspector::flows() const
{
    std::size_t count = 0;
    for (const auto& worker : workers_) count += worker->flows();
    return count;
}

std::size_t Inspector::inspections() const
{
    std::size_t count = 0;
    for (const auto& worker : workers_) count += worker->inspections();
    return count;
}

std::vector<Effort> Inspector::efforts() const
{
    std::vector<Effort> efforts;
    for (unsigned worker = 0; worker < engines()->workers(); ++worker) efforts.push_back(workers_[worker]->effort());
    return efforts;
}

std::optional<Inspector::Stuck> Inspector::stuck(std::chrono::nanoseconds limit)
{
    for (unsigned worker = 0; worker < DPI_MAX_WORKERS; ++worker)
        if (const auto crumb = workers_[worker]->stuck(limit, *crumbs_)) return Stuck{worker, *crumb};
    return std::nullopt;
}

} // namespace evnf::dpi
