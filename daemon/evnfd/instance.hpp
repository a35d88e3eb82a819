// SPDX-License-Identifier: MIT
/// A running plugin: its library, the object it created, and what the daemon lends to it.
#pragma once

#include <spdlog/logger.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "clock.hpp"
#include "guard.hpp"
#include "plugin_library.hpp"
#include "ring_reader.hpp"

namespace evnf {

/// What all instances share.
struct InstanceContext {
    boost::asio::any_io_executor executor;
    const FastPathClock* clock;      ///< null in --check: nothing touches the kernel
    std::shared_ptr<spdlog::logger> log;
    std::filesystem::path plugin_dir;
    bool rings_by_hand = false;      ///< --replay and tests: consumers run in drain()
    std::shared_ptr<LoopActivity> activity = std::make_shared<LoopActivity>();
    std::function<std::optional<MapRef>(const std::string& instance, const std::string& map)> state = {}; ///< none in --check
    std::function<void()> beat = {}; ///< tells the fast path that all slow paths live that do; none in --check
};

/// Every call into the plugin goes through here; what it throws leaves as std::runtime_error that names the instance.
/// What the plugin has running by itself is under its Guard, and throws nowhere.
class Instance final : public Host {
public:
    /// Opens the module and creates the plugin.
    Instance(std::string name, const std::string& module, const InstanceContext& context);
    ~Instance();

    const std::string& name() const noexcept { return name_; }
    const std::string& module() const noexcept { return module_; }
    const PluginDescriptor& descriptor() const noexcept { return library_.descriptor(); }
    /// Failures of what runs by itself, since the last commit.
    std::size_t failures() const { return guard_->failures(); }
    /// Why it does not work in full, or empty.
    std::string trouble() const { return guard_->trouble(); }
    /// Its slow path rests for good: a reload puts a new instance in its place.
    bool quarantined() const noexcept { return guard_->quarantined(); }
    /// Its slow path lives: not in quarantine, and each thread of a ring has turned since the last call.
    bool alive();
    void forgive() { guard_->forgive(); }

    std::unique_ptr<Staged> stage(const Node& config, const Ports& ports);
    void start();
    /// A commit: reads those rings in `maps` that the plugin asked for and the new generation uses.
    void read_rings(const Maps& maps, const Staged& staged);
    /// Consumes what is in the rings, when they are read by hand.
    void drain();
    boost::json::value query(std::string_view verb, const std::vector<std::string>& args);
    std::vector<MetricFamily> metrics();
    boost::json::value explain(const evnf_packet& packet, std::uint64_t note);

    const std::string& instance() const override { return name_; }
    boost::asio::any_io_executor executor() override { return executor_; }
    spdlog::logger& log() override { return *log_; }
    std::uint64_t jiffies() const override { return context_.clock ? context_.clock->jiffies() : 0; }
    unsigned jiffies_per_second() const override { return context_.clock ? context_.clock->jiffies_per_second() : 1; }
    void consume(std::string name, RingThread thread, RingConsumer consumer) override;
    std::optional<MapRef> state(const std::string& name) const override { return context_.state ? context_.state(name_, name) : std::nullopt; }
    void keep_alive() override;

private:
    struct RingRequest {
        std::string name;
        RingThread thread;
        RingConsumer consumer;
    };
    /// A ring that is read. One that no generation uses any more is read on for a while, until `until`.
    struct Reading {
        std::uint32_t map; ///< its id: a ring of another size is another map
        std::unique_ptr<RingReader> reader;
        std::chrono::steady_clock::time_point until = {};
    };
    std::unique_ptr<RingReader> make_reader(const RingRequest& request, const MapRef& ring);
    template <class Call>
    auto guarded(const char* what, Call call);

    std::string name_, module_;
    InstanceContext context_;
    std::shared_ptr<spdlog::logger> log_;
    PluginLibrary library_;
    std::shared_ptr<Guard> guard_;
    Guard::Closing closing_{*guard_}; // also where create() throws
    boost::asio::any_io_executor executor_;
    std::vector<RingRequest> requests_;
    std::unique_ptr<Plugin> plugin_;
    bool started_ = false;
    bool tells_metrics_ = true;
    std::vector<Reading> readings_, retired_; // before the plugin goes, its consumers have stopped
};

} // namespace evnf
