// SPDX-License-Identifier: MIT
#include "worker.hpp"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "opening.hpp"

namespace evnf::dpi {

namespace {

constexpr std::chrono::milliseconds kPatience{10};

/// nDPI does not take a packet that is shorter than its header says: makes a cut copy whole.
std::vector<std::byte> with_length_of_copy(std::span<const std::byte> packet)
{
    std::vector<std::byte> mended(packet.begin(), packet.end());
    const bool v4 = std::to_integer<unsigned>(packet[0]) >> 4 == 4;
    const std::uint16_t length = htons(static_cast<std::uint16_t>(v4 ? packet.size() : packet.size() - 40));
    std::memcpy(mended.data() + (v4 ? 2 : 4), &length, sizeof length);
    return mended;
}

/// Counters have one writer.
void add(std::atomic<std::uint64_t>& counter, std::uint64_t value)
{
    counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

} // namespace

/// While it lives, nDPI has a packet in hand: for whom it may concern, in this process and in the next one.
class Worker::Dissection {
public:
    Dissection(Worker& worker, Breadcrumbs& crumbs, const dpi_copy& copy)
        : worker_{worker}, crumb_{crumbs.of(worker.number_), copy.id, copy.key, copy.now}
    {
        clockid_t clock{};
        if (pthread_getcpuclockid(pthread_self(), &clock) == 0) worker_.clock_ = clock;
        worker_.step_.fetch_add(1);
    }
    ~Dissection()
    {
        worker_.step_.fetch_add(1);
        add(worker_.dissected_, 1);
        add(worker_.time_ns_, static_cast<std::uint64_t>((std::chrono::steady_clock::now() - since_).count()));
    }
    Dissection(const Dissection&) = delete;
    Dissection& operator=(const Dissection&) = delete;

private:
    Worker& worker_;
    Breadcrumbs::Scope crumb_;
    const std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

void Worker::inspect(const dpi_copy& copy, std::span<const std::byte> packet, const std::shared_ptr<Engine>& engine,
                     Breadcrumbs& crumbs, const VerdictSink& sink)
{
    Flow flow;
    if (!take(copy, crumbs, flow)) return;
    Finding finding;
    {
        const Dissection dissection{*this, crumbs, copy};
        finding = dissect(flow, copy, packet, engine);
    }
    const auto verdict = settle(copy.id, flow, finding);
    // Where the flow is no more, prune() forgets it, once its record is written.
    if (verdict) sink(*verdict);
}

/// The part of a flow that its packet is dissected with; false where nothing is to be done with it.
bool Worker::take(const dpi_copy& copy, const Breadcrumbs& crumbs, Flow& taken)
{
    const std::lock_guard lock{mutex_};
    auto [found, is_new] = flows_.try_emplace(copy.id);
    Flow& flow = found->second;
    if (is_new) {
        flow.key = copy.key;
        if (crumbs.is_quarantined(copy.id)) flow.known.state = DPI_GAVE_UP;
    }
    if (flow.known.state != DPI_INSPECTING) return false;
    flow.gap |= (copy.flow_flags & DPI_FLOW_GAP) != 0;
    taken.gap = flow.gap;
    taken.inspection = std::move(flow.inspection);
    return true;
}

Worker::Finding Worker::dissect(Flow& flow, const dpi_copy& copy, std::span<const std::byte> packet,
                                const std::shared_ptr<Engine>& engine)
{
    if (!flow.inspection) begin(flow, copy, packet, engine);
    const bool cut = copy.l3_length > packet.size();
    Finding finding;
    finding.final = flow.inspection->feed(cut ? with_length_of_copy(packet) : packet, milliseconds(copy.now), copy.from_initiator);
    finding.label = flow.inspection->label();
    if (copy.is_last && !finding.final) {
        finding.wants_more = flow.gap && finding.label.guessed();
        finding.final = !finding.wants_more;
    }
    if (finding.final) {
        flow.inspection->give_up();
        finding.label = flow.inspection->label();
    } else if (!finding.label.known()) {
        finding.guess = std::make_unique<Label>(flow.inspection->guess());
    }
    return finding;
}

void Worker::begin(Flow& flow, const dpi_copy& copy, std::span<const std::byte> packet, const std::shared_ptr<Engine>& engine)
{
    add(began_, 1);
    flow.inspection = std::make_unique<Inspection>(engine);
    if (!(copy.flow_flags & DPI_FLOW_HANDSHAKE)) return;
    const auto opening = opening_packet(copy.opening, packet, copy.l4_offset, copy.direction);
    if (!opening.empty()) flow.inspection->feed(opening, milliseconds(copy.now), true);
}

/// Puts back what was taken, with what it has told; a verdict where there is one now. The flow may have ended meanwhile, or
/// be another worker's.
std::optional<Verdict> Worker::settle(std::uint64_t id, Flow& taken, Finding& finding)
{
    const std::lock_guard lock{mutex_};
    const auto found = flows_.find(id);
    if (found == flows_.end()) return std::nullopt;
    Flow& flow = found->second;
    flow.known.label = std::move(finding.label);
    flow.guess = std::move(finding.guess);
    if (finding.final)
        flow.known.state = flow.known.label.known() ? DPI_CLASSIFIED : DPI_GAVE_UP;
    else
        flow.inspection = std::move(taken.inspection);
    if (!finding.final && !finding.wants_more) return std::nullopt;
    flow.gap = false;
    return Verdict{flow.key, id, flow.known.state, flow.known.label, finding.wants_more};
}

bool Worker::has(std::uint64_t id) const
{
    const std::lock_guard lock{mutex_};
    return flows_.contains(id);
}

std::optional<Knowledge> Worker::find(std::uint64_t id) const
{
    const std::lock_guard lock{mutex_};
    const auto found = flows_.find(id);
    if (found == flows_.end()) return std::nullopt;
    return found->second.known;
}

std::optional<Knowledge> Worker::describe(std::uint64_t id) const
{
    const std::lock_guard lock{mutex_};
    const auto found = flows_.find(id);
    if (found == flows_.end()) return std::nullopt;
    const auto& [known, guess] = std::tie(found->second.known, found->second.guess);
    return guess ? Knowledge{known.state, *guess} : known;
}

/// nDPI has the last word on what it could not name; but if it is at a packet that takes long, what it suggested before
/// must do, and nobody waits for that packet a second time.
std::optional<Label> Worker::finish(std::uint64_t id)
{
    const auto node = extract(id);
    if (node.empty()) return std::nullopt;
    const Flow& flow = node.mapped();
    if (!flow.guess) return flow.known.label;
    if (flow.inspection && step_ != waited_for_) {
        if (auto label = flow.inspection->give_up_within(kPatience)) return label;
        waited_for_ = step_;
    }
    return *flow.guess;
}

Worker::Flows::node_type Worker::extract(std::uint64_t id)
{
    const std::lock_guard lock{mutex_};
    return flows_.extract(id);
}

void Worker::adopt(Flows::node_type flow)
{
    if (flow.empty()) return;
    flow.mapped().gap = true;
    const std::lock_guard lock{mutex_};
    flows_.insert(std::move(flow));
}

/// Goes round by buckets, in as many calls as it takes; an empty one counts as a flow, so that a call is short.
void Worker::prune(std::size_t count, const std::function<bool(const dpi_key&, std::uint64_t)>& is_alive)
{
    std::vector<std::pair<std::uint64_t, dpi_key>> looked_at;
    {
        const std::lock_guard lock{mutex_};
        if (pruned_to_ >= flows_.bucket_count()) pruned_to_ = 0;
        for (; count > 0 && pruned_to_ < flows_.bucket_count(); ++pruned_to_) {
            for (auto flow = flows_.cbegin(pruned_to_); flow != flows_.cend(pruned_to_); ++flow)
                looked_at.emplace_back(flow->first, flow->second.key);
            count -= std::min(count, std::max<std::size_t>(1, flows_.bucket_size(pruned_to_)));
        }
    }
    for (const auto& [id, key] : looked_at)
        if (!is_alive(key, id)) extract(id);
}

std::size_t Worker::flows() const
{
    const std::lock_guard lock{mutex_};
    return flows_.size();
}

std::size_t Worker::inspections() const
{
    const std::lock_guard lock{mutex_};
    return static_cast<std::size_t>(
        std::count_if(flows_.begin(), flows_.end(), [](const auto& flow) { return flow.second.known.state == DPI_INSPECTING; }));
}

Effort Worker::effort() const
{
    return {began_, dissected_, std::chrono::nanoseconds{time_ns_}};
}

std::optional<dpi_breadcrumb> Worker::stuck(std::chrono::nanoseconds limit, Breadcrumbs& crumbs)
{
    const auto step = step_.load();
    timespec used{};
    if (clock_gettime(clock_, &used) != 0) return std::nullopt; // its thread is gone: with another one all begins anew
    if (!watch_.look(step, std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec}, limit)) return std::nullopt;
    return crumbs.of(number_);
}

} // namespace evnf::dpi
