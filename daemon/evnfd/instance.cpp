// SPDX-License-Identifier: MIT
#include "instance.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

namespace evnf {

namespace {

std::shared_ptr<spdlog::logger> named_logger(const spdlog::logger& parent, const std::string& name)
{
    auto log = std::make_shared<spdlog::logger>(name, parent.sinks().begin(), parent.sinks().end());
    log->set_level(parent.level());
    return log;
}

/// Longer than any packet takes that a former generation has left to the kernel and that comes back to it.
constexpr std::chrono::seconds kRetirement{10};

std::uint32_t id_of(const MapRef& map)
{
    bpf_map_info info{};
    __u32 size = sizeof info;
    if (bpf_obj_get_info_by_fd(map.fd(), &info, &size) != 0) throw_errno(errno, fmt::format("cannot look at map {}", map.name()));
    return info.id;
}

} // namespace

/// Runs a call into the plugin; whatever it throws becomes an error that says whose and in what.
template <class Call>
auto Instance::guarded(const char* what, Call call)
{
    const LoopActivity::Scope scope{*context_.activity, fmt::format("{}: {}", name_, what)};
    try {
        return call();
    } catch (const std::exception& error) {
        throw std::runtime_error{fmt::format("plugin {}: {} failed: {}", name_, what, error.what())};
    } catch (...) {
        throw std::runtime_error{fmt::format("plugin {}: {} failed: threw what is no std::exception", name_, what)};
    }
}

Instance::Instance(std::string name, const std::string& module, const InstanceContext& context)
    : name_{std::move(name)},
      module_{module},
      context_{context},
      log_{named_logger(*context.log, name_)},
      library_{context.plugin_dir, module},
      guard_{std::make_shared<Guard>(name_, log_, context.activity)},
      executor_{GuardedExecutor{context.executor, guard_}}
{
    plugin_ = guarded("create", [&] { return library_.descriptor().create(*this); });
    if (!plugin_) throw std::runtime_error{fmt::format("plugin {}: create gave no plugin", name_)};
}

Instance::~Instance()
{
    readings_.clear();
    retired_.clear();
    if (started_) plugin_->stop();
}

bool Instance::alive()
{
    bool progressed = true;
    for (const auto& reading : readings_) progressed &= reading.reader->progressed();
    const auto now = std::chrono::steady_clock::now();
    std::erase_if(retired_, [now](const Reading& reading) { return reading.until <= now && reading.reader->idle(); });
    return progressed && !quarantined();
}

std::unique_ptr<Staged> Instance::stage(const Node& config, const Ports& ports)
{
    return guarded("stage", [&] { return plugin_->stage(config, ports); });
}

void Instance::start()
{
    if (started_) return;
    guarded("start", [&] { plugin_->start(); });
    started_ = true;
}

void Instance::keep_alive()
{
    if (context_.beat) context_.beat();
}

void Instance::consume(std::string name, RingThread thread, RingConsumer consumer)
{
    requests_.push_back({std::move(name), thread, std::move(consumer)});
}

std::unique_ptr<RingReader> Instance::make_reader(const RingRequest& request, const MapRef& ring)
{
    if (context_.rings_by_hand) return read_by_hand(ring, request.consumer, guard_);
    if (request.thread == RingThread::worker) return read_on_thread(ring, request.consumer, guard_);
    return read_on_loop(ring, executor_, request.consumer, guard_);
}

/// What packets in flight, and those in the kernel's hands, still write to the former generation's rings is read too.
void Instance::read_rings(const Maps& maps, const Staged& staged)
{
    const auto until = std::chrono::steady_clock::now() + kRetirement;
    for (auto& reading : readings_) {
        reading.until = until;
        retired_.push_back(std::move(reading));
    }
    readings_.clear();
    for (const auto& request : requests_) {
        if (!staged.uses_ring(request.name)) continue;
        const MapRef ring = maps.get(request.name);
        const auto before = std::find_if(retired_.begin(), retired_.end(), [id = id_of(ring)](const auto& reading) { return reading.map == id; });
        if (before == retired_.end()) {
            readings_.push_back({id_of(ring), make_reader(request, ring)});
            continue;
        }
        readings_.push_back(std::move(*before));
        retired_.erase(before);
    }
}

void Instance::drain()
{
    for (const auto* readings : {&retired_, &readings_})
        for (const auto& reading : *readings) reading.reader->drain();
}

boost::json::value Instance::query(std::string_view verb, const std::vector<std::string>& args)
{
    const LoopActivity::Scope scope{*context_.activity, fmt::format("{}: query", name_)};
    try {
        return plugin_->query(verb, args);
    } catch (const std::exception& error) { // nothing has failed: it is the answer to what cannot be done
        throw std::runtime_error{fmt::format("{}: {}", name_, error.what())};
    } catch (const UnknownVerb& unknown) {
        throw std::runtime_error{fmt::format("{} does not know '{}'; it answers: {}", name_, verb, fmt::join(unknown.verbs, ", "))};
    } catch (...) {
        throw std::runtime_error{fmt::format("{}: query threw what is no std::exception", name_)};
    }
}

/// Asked for again and again: the first failure of several is logged.
std::vector<MetricFamily> Instance::metrics()
try {
    auto families = guarded("metrics", [this] { return plugin_->metrics(); });
    tells_metrics_ = true;
    return families;
} catch (const std::exception& error) {
    if (std::exchange(tells_metrics_, false)) context_.log->warn("{}", error.what());
    throw;
}

boost::json::value Instance::explain(const evnf_packet& packet, std::uint64_t note)
{
    return guarded("explain", [&] { return plugin_->explain(packet, note); });
}

} // namespace evnf
