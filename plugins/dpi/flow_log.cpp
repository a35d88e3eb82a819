// SPDX-License-Identifier: MIT
#include "flow_log.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "flow_line.hpp"
#include "flow_outlet.hpp"
#include "ipfix.hpp"

namespace evnf::dpi {

namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;
using Entry = std::shared_ptr<const FlowLogEntry>;
using Kind = FlowLogTarget::Kind;

constexpr std::size_t kRoom = 65536;
constexpr std::size_t kBatch = 256;
constexpr std::chrono::seconds kBetweenAttempts{1};
constexpr std::chrono::milliseconds kBetweenLastAttempts{100};
constexpr std::chrono::seconds kGrace{2}; // for what waits when the log is closed; an operation under way may take 2 s more

std::unique_ptr<FlowEncoder> encoder_for(Kind kind)
{
    switch (kind) {
    case Kind::ipfix_udp: return std::make_unique<IpfixEncoder>(true);
    case Kind::ipfix_tcp: return std::make_unique<IpfixEncoder>(false);
    default: return std::make_unique<LineEncoder>();
    }
}

/// Adds what `entry` tells of.
void add(FlowAggregate& sum, const FlowLogEntry& entry)
{
    if (const auto* record = std::get_if<FlowRecord>(&entry)) {
        sum.flows += 1;
        sum.packets += record->out.packets + record->back.packets;
        sum.bytes += record->out.bytes + record->back.bytes;
    } else if (const auto* aggregate = std::get_if<FlowAggregate>(&entry)) {
        sum.flows += aggregate->flows;
        sum.packets += aggregate->packets;
        sum.bytes += aggregate->bytes;
    }
}

} // namespace

/// One target, its queue and its thread.
class FlowLog::Writer {
public:
    Writer(FlowLogTarget target, spdlog::logger& log)
        : target_{std::move(target)}, log_{log}, thread_{[this] { run(); }}
    {
    }
    ~Writer()
    {
        close();
        thread_.join();
    }

    const FlowLogTarget& target() const noexcept { return target_; }
    void push(const Entry& entry);
    void reopen();
    /// What waits is still written; see is_over().
    void close();
    bool is_over() const;
    FlowLogStatus status() const;

private:
    struct Connection {
        std::unique_ptr<Outlet> outlet;
        std::unique_ptr<FlowEncoder> encoder;
    };

    // On the thread.
    void run();
    bool take();
    void tell_of_lost();
    void deliver();
    void works();
    void fails(const std::string& problem);
    bool pause();
    void end();

    const FlowLogTarget target_;
    spdlog::logger& log_;

    mutable std::mutex mutex_; // of all from here to batch_
    std::condition_variable wake_;
    std::deque<Entry> queue_;
    std::size_t waiting_ = 0; // in queue_ and batch_
    std::uint64_t written_ = 0, lost_ = 0;
    FlowAggregate untold_; // what was lost since the target was last told of it
    bool is_losing_ = false;
    std::string problem_;
    bool reopening_ = true; // so that a target that cannot be opened is known at once
    bool is_over_ = false;
    std::optional<steady_clock::time_point> deadline_; // once it is to end

    std::vector<Entry> batch_; // the thread's own
    std::size_t delivered_ = 0; // of batch_
    std::optional<Connection> connection_;
    std::thread thread_;
};

void FlowLog::Writer::push(const Entry& entry)
{
    const std::lock_guard lock{mutex_};
    if (waiting_ < kRoom) {
        queue_.push_back(entry);
        if (++waiting_ == 1) wake_.notify_one();
        return;
    }
    ++lost_;
    add(untold_, *entry);
    if (!std::exchange(is_losing_, true)) log_.warn("flow_log: {}: {} records wait already: others are lost", target_.text, kRoom);
}

void FlowLog::Writer::reopen()
{
    const std::lock_guard lock{mutex_};
    reopening_ = true;
    wake_.notify_one();
}

void FlowLog::Writer::close()
{
    const std::lock_guard lock{mutex_};
    if (!deadline_) deadline_ = steady_clock::now() + kGrace;
    wake_.notify_one();
}

bool FlowLog::Writer::is_over() const
{
    const std::lock_guard lock{mutex_};
    return is_over_;
}

FlowLogStatus FlowLog::Writer::status() const
{
    const std::lock_guard lock{mutex_};
    return {target_.text, written_, lost_, waiting_, problem_};
}

void FlowLog::Writer::run()
{
    while (take()) {
        try {
            deliver();
            works();
        } catch (const std::exception& error) {
            connection_.reset();
            fails(error.what());
            if (!pause()) break;
        }
    }
    connection_.reset();
    end();
}

/// Waits for something to do; false when all is done, or the time for it is over.
bool FlowLog::Writer::take()
{
    std::unique_lock lock{mutex_};
    wake_.wait(lock, [this] { return waiting_ || untold_.flows || untold_.packets || reopening_ || deadline_; });
    if (std::exchange(reopening_, false)) connection_.reset();
    if (delivered_ == batch_.size()) {
        const auto count = std::min(queue_.size(), kBatch);
        const auto last = queue_.begin() + static_cast<std::ptrdiff_t>(count);
        batch_.assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(last));
        queue_.erase(queue_.begin(), last);
        delivered_ = 0;
        if (queue_.empty()) tell_of_lost();
    }
    if (!deadline_) return true;
    return waiting_ && steady_clock::now() < *deadline_;
}

/// Nothing is lost any more: the target can be told of what was.
void FlowLog::Writer::tell_of_lost()
{
    is_losing_ = false;
    if (!untold_.flows && !untold_.packets) return;
    auto lost = std::exchange(untold_, {});
    lost.reason = "lost";
    lost.time = system_clock::now();
    batch_.push_back(std::make_shared<const FlowLogEntry>(std::move(lost)));
    ++waiting_;
}

void FlowLog::Writer::deliver()
{
    if (!connection_) connection_ = Connection{open_outlet(target_), encoder_for(target_.kind)};
    auto& [outlet, encoder] = *connection_;
    if (const auto preamble = encoder->preamble(); !preamble.empty()) outlet->send(preamble);
    std::string piece;
    while (delivered_ < batch_.size()) {
        const auto count = encoder->encode(FlowLogEntries{batch_}.subspan(delivered_), piece);
        outlet->send(piece);
        delivered_ += count;
        const std::lock_guard lock{mutex_};
        written_ += count;
        waiting_ -= count;
    }
}

void FlowLog::Writer::works()
{
    const std::lock_guard lock{mutex_};
    if (problem_.empty()) return;
    problem_.clear();
    log_.info("flow_log: {}: can be written to again", target_.text);
}

void FlowLog::Writer::fails(const std::string& problem)
{
    const std::lock_guard lock{mutex_};
    if (problem_.empty()) log_.warn("flow_log: {}: {}; up to {} records wait until it can be written to", target_.text, problem, kRoom);
    problem_ = problem;
}

/// Between two attempts; false when there was time for the last one.
bool FlowLog::Writer::pause()
{
    std::unique_lock lock{mutex_};
    if (deadline_ && steady_clock::now() >= *deadline_) return false;
    if (deadline_) wake_.wait_for(lock, kBetweenLastAttempts);
    else wake_.wait_for(lock, kBetweenAttempts, [this] { return deadline_ || reopening_; });
    return true;
}

void FlowLog::Writer::end()
{
    const std::lock_guard lock{mutex_};
    if (waiting_) log_.error("flow_log: {}: closed, and {} entries were not written{}{}", target_.text, waiting_, problem_.empty() ? "" : ": ", problem_);
    lost_ += std::exchange(waiting_, 0);
    is_over_ = true;
}

FlowLog::FlowLog(spdlog::logger& log) : log_{log} {}

FlowLog::~FlowLog()
{
    for (const auto& writer : writers_) writer->close(); // all at once: they end in parallel
}

void FlowLog::use(const std::vector<FlowLogTarget>& targets) noexcept
{
    leaving_.remove_if([](const auto& writer) { return writer->is_over(); });
    Writers former;
    former.swap(writers_);
    for (const auto& target : targets) {
        const auto same = std::find_if(former.begin(), former.end(), [&](const auto& writer) { return writer->target() == target; });
        if (same != former.end()) {
            (*same)->reopen();
            writers_.splice(writers_.end(), former, same);
            continue;
        }
        try {
            writers_.push_back(std::make_unique<Writer>(target, log_));
        } catch (const std::exception& error) {
            log_.error("flow_log: {}: no thread for it: {}", target.text, error.what());
        }
    }
    for (const auto& writer : former) writer->close();
    leaving_.splice(leaving_.end(), former);
}

void FlowLog::write(const FlowRecord& record)
{
    if (in_use()) push(record);
}

void FlowLog::write_aggregate(std::string_view reason, std::string_view app, std::uint64_t flows, std::uint64_t packets,
                              std::uint64_t bytes)
{
    if (in_use()) push(FlowAggregate{std::string{reason}, std::string{app}, flows, packets, bytes, system_clock::now()});
}

void FlowLog::push(FlowLogEntry entry)
{
    const auto shared = std::make_shared<const FlowLogEntry>(std::move(entry));
    for (const auto& writer : writers_) writer->push(shared);
}

std::vector<FlowLogStatus> FlowLog::status() const
{
    std::vector<FlowLogStatus> all;
    for (const auto& writer : writers_) all.push_back(writer->status());
    return all;
}

boost::json::array FlowLog::report() const
{
    boost::json::array all;
    for (const auto& one : status()) {
        boost::json::object object{
            {"target", one.target}, {"written", one.written}, {"lost", one.lost}, {"waiting", one.waiting}};
        object["problem"] = one.problem.empty() ? boost::json::value() : boost::json::value(one.problem);
        all.push_back(std::move(object));
    }
    return all;
}

} // namespace evnf::dpi
