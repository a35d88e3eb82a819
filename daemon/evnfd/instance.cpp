// SPDX-License-Identifier: MIT
#include "instance.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>

namespace evnf {

namespace {

/// Runs a call into a plugin; whatever it throws becomes an error that says whose and in what.
template <class Call>
auto guarded(const std::string& instance, const char* what, Call call)
{
    try {
        return call();
    } catch (const std::exception& error) {
        throw std::runtime_error{fmt::format("plugin {}: {} failed: {}", instance, what, error.what())};
    } catch (const UnknownVerb&) {
        throw;
    } catch (...) {
        throw std::runtime_error{fmt::format("plugin {}: {} failed: threw what is no std::exception", instance, what)};
    }
}

std::shared_ptr<spdlog::logger> named_logger(const spdlog::logger& parent, const std::string& name)
{
    auto log = std::make_shared<spdlog::logger>(name, parent.sinks().begin(), parent.sinks().end());
    log->set_level(parent.level());
    return log;
}

} // namespace

Instance::Instance(std::string name, const std::string& module, const InstanceContext& context)
    : name_{std::move(name)},
      module_{module},
      context_{context},
      log_{named_logger(*context.log, name_)},
      library_{context.plugin_dir, module}
{
    plugin_ = guarded(name_, "create", [&] { return library_.descriptor().create(*this); });
    if (!plugin_) throw std::runtime_error{fmt::format("plugin {}: create gave no plugin", name_)};
}

Instance::~Instance()
{
    readers_.clear();
    if (started_) plugin_->stop();
}

std::string Instance::trouble() const
{
    const std::lock_guard lock{trouble_mutex_};
    return trouble_;
}

std::unique_ptr<Staged> Instance::stage(const Node& config, const Ports& ports)
{
    return guarded(name_, "stage", [&] { return plugin_->stage(config, ports); });
}

void Instance::start()
{
    if (started_) return;
    guarded(name_, "start", [&] { plugin_->start(); });
    started_ = true;
}

void Instance::consume(std::string name, RingThread thread, RingConsumer consumer)
{
    requests_.push_back({std::move(name), thread, std::move(consumer)});
}

std::unique_ptr<RingReader> Instance::make_reader(const RingRequest& request, const Maps& maps)
{
    const MapRef ring = maps.get(request.name);
    const auto failure = [this](const std::string& what) { report_trouble(what); };
    if (context_.rings_by_hand) return read_by_hand(ring, request.consumer, failure);
    if (request.thread == RingThread::worker) return read_on_thread(ring, request.consumer, failure);
    return read_on_loop(ring, context_.executor, request.consumer, failure);
}

void Instance::read_rings(const Maps& maps)
{
    if (!readers_.empty()) return;
    for (const auto& request : requests_) readers_.push_back(make_reader(request, maps));
}

void Instance::drain()
{
    for (const auto& reader : readers_) reader->drain();
}

void Instance::report_trouble(const std::string& what)
{
    const std::lock_guard lock{trouble_mutex_};
    // One line per cause: a consumer that always throws would flood the log.
    if (trouble_ != what) log_->error("a ring's consumer failed: {}", what);
    trouble_ = what;
}

boost::json::value Instance::query(std::string_view verb, const std::vector<std::string>& args)
{
    try {
        return guarded(name_, "query", [&] { return plugin_->query(verb, args); });
    } catch (const UnknownVerb& unknown) {
        throw std::runtime_error{fmt::format("{} does not know '{}'; it answers: {}", name_, verb, fmt::join(unknown.verbs, ", "))};
    }
}

boost::json::value Instance::explain(const evnf_packet& packet, std::uint64_t note)
{
    return guarded(name_, "explain", [&] { return plugin_->explain(packet, note); });
}

} // namespace evnf
