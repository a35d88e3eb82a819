// SPDX-License-Identifier: MIT
/// The plugin SDK: everything that a network function and the daemon know of each other.
///
/// A plugin is a shared object that exports one `evnf_plugin` descriptor (EVNF_PLUGIN below). The
/// daemon checks its ABI number before any code of the plugin runs, then calls, all on the
/// daemon's one control thread and in this order:
///
///     create(Host&)  ->  stage(config)  ->  Staged::open() per chain  ->  Staged::fill()
///                    ->  start()  ->  Staged::commit()
///                    ->  any mix of query(), explain(), ring consumers, stage() … commit()
///                    ->  stop()  ->  destructor
///
/// `--check` calls create() and stage() only. Exceptions may leave every function that is not
/// noexcept: the daemon names the plugin, refuses what it was doing, and goes on as before. They
/// may leave ring consumers and handlers on Host::executor() too: that is counted, and 10 such
/// failures within 60 s put the instance in quarantine. Then its rings are not read and its
/// handlers do not run, while its fast path goes on, until a reload replaces it: create() is called
/// anew, and the old object goes the way of stop().
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <evnf/bpf.hpp>
#include <evnf/config.hpp>
#include <evnf/metrics.hpp>
#include <evnf/packet_shared.h>

namespace spdlog {
class logger;
}

namespace evnf {

/// Changes whenever a type of this header changes its layout or meaning.
inline constexpr std::uint32_t kPluginAbi = 4;

/// What a copy of a fast path is compiled for. Both are made from one source: see evnf/ctx.bpf.h.
enum class FastPathHook {
    xdp, ///< ports' usual ingress
    tc,  ///< ingress of ports with `hook: tc`, and where packets come back from the kernel
};

/// What becomes of a packet when a stage's program is missing (a fault, never a mode of work).
enum class OnError { drop, skip };

/// The ports of the configuration being staged, for plugins whose settings name ports.
class Ports {
public:
    /// Index of the port, as in evnf_packet.port; the same in every generation. -1: no such port.
    virtual int index(std::string_view name) const = 0;
    /// Name of the port with that index; empty when there is none.
    virtual std::string_view name(int index) const = 0;

protected:
    ~Ports() = default;
};

/// One record of a ring: `data` is the daemon's and valid during the call only.
using RingConsumer = std::function<void(std::span<const std::byte> data)>;

/// Where a ring's consumer runs.
enum class RingThread {
    loop,   ///< on Host::executor()'s thread; must not block
    worker, ///< on a thread of its own, for heavy work; in --replay on the caller's thread
};

/// What the daemon lends to a plugin. Outlives it; all members are for the control thread unless
/// they say otherwise.
class Host {
public:
    /// The plugin's key in `plugins:`.
    virtual const std::string& instance() const = 0;
    /// The control loop: one thread, so handlers posted here never race. None runs after stop().
    virtual boost::asio::any_io_executor executor() = 0;
    /// Thread-safe; lines name the instance.
    virtual spdlog::logger& log() = 0;
    /// The fast path's clock now (evnf_packet.now). Thread-safe.
    virtual std::uint64_t jiffies() const = 0;
    /// Jiffies per second. Thread-safe.
    virtual unsigned jiffies_per_second() const = 0;
    /// Reads the ring buffer map `name` (state, declared with LIBBPF_PIN_BY_NAME) in every generation
    /// that uses it (Staged::uses_ring), without a break where the next one uses it too and leaves its size as it is.
    /// Of a ring that goes out of use, or gets another size, all is read that is or comes in: its reader stays for 10 s
    /// and until the ring is empty. No reader is left after stop(). Call it once per ring, in the constructor.
    virtual void consume(std::string name, RingThread thread, RingConsumer consumer) = 0;
    /// The state map `name` as earlier generations and daemons have left it, from the first Staged::open() on: for a fast path
    /// whose maps' sizes depend on it. Nothing where there is none. Valid during the call of the plugin.
    virtual std::optional<MapRef> state(const std::string& name) const = 0;
    /// Puts off the moment at which the fast path takes the slow path for dead. For a task that holds the control loop, and in it:
    /// to be called whenever a part of the task is done, at least once a second.
    virtual void keep_alive() = 0;

protected:
    ~Host() = default;
};

/// One opened copy of the plugin's BPF object. It must hold exactly one program, for its hook.
class FastPath {
public:
    virtual ~FastPath() = default;
    /// Owned by this object; the daemon sets .rodata.evnf, reuses maps and loads it.
    virtual bpf_object* object() noexcept = 0;
};

/// A FastPath over a bpftool skeleton.
template <class Skeleton>
class SkeletonFastPath final : public FastPath {
public:
    SkeletonFastPath() : skeleton_{Skeleton::open()}
    {
        if (!skeleton_) throw_errno(errno, "cannot open the BPF object");
    }
    ~SkeletonFastPath() override { Skeleton::destroy(skeleton_); }
    SkeletonFastPath(const SkeletonFastPath&) = delete;
    SkeletonFastPath& operator=(const SkeletonFastPath&) = delete;

    Skeleton& skeleton() noexcept { return *skeleton_; }
    bpf_object* object() noexcept override { return skeleton_->obj; }

private:
    Skeleton* skeleton_;
};

/// A copy for `hook` of the skeletons that evnf_plugin() makes of one source, both set up by `set_up(skeleton)`:
/// `return open_fast_path<fw_bpf, fw_tc_bpf>(hook, [&](auto& skeleton) { skeleton.rodata->… = …; });`
template <class Xdp, class Tc, class SetUp>
std::unique_ptr<FastPath> open_fast_path(FastPathHook hook, SetUp set_up)
{
    if (hook == FastPathHook::tc) {
        auto fast_path = std::make_unique<SkeletonFastPath<Tc>>();
        set_up(fast_path->skeleton());
        return fast_path;
    }
    auto fast_path = std::make_unique<SkeletonFastPath<Xdp>>();
    set_up(fast_path->skeleton());
    return fast_path;
}

/// The plugin's maps of one generation, by name. File descriptors stay the daemon's.
class Maps {
public:
    virtual ~Maps() = default;
    /// Throws std::out_of_range, naming the map, when there is none.
    virtual MapRef get(const std::string& name) const = 0;
};

/// A configuration that was accepted but is not live. Destroyed without commit(): abandoned,
/// and nothing live has changed.
class Staged {
public:
    virtual ~Staged() = default;
    /// A fresh copy of the BPF object, opened, with read-only data and map sizes set, not loaded.
    /// Called once for each distinct chain that the plugin is in, and hook that the chain runs at.
    virtual std::unique_ptr<FastPath> open(FastPathHook hook) = 0;
    /// Whether the fast path may leave a packet to the kernel (evnf_kernel). Where it does after having said no,
    /// the packet is dropped as `not_resumable`.
    virtual bool leaves_chain() const { return true; }
    /// Addresses that no interface has and the fast path answers for. The daemon routes them, so that what a stage before
    /// leaves to the kernel meets netfilter's FORWARD under such an address, and then the rest of its chain.
    virtual std::vector<Address> virtual_addresses() const { return {}; }
    /// What open() and fill() depend on beside the instance's own keys, contents of files for one, as text of any form:
    /// with equal keys and equal inputs the fast path would be the same, and a reload need not touch it. Nothing: no
    /// such promise, every reload makes it anew.
    virtual std::optional<std::string> inputs() const { return std::nullopt; }
    /// Whether the fast path writes to the ring `name` of Host::consume(). What is not used is not read, and has no
    /// thread: a plugin asks for as many rings as it may ever want, and uses those that its configuration is for.
    virtual bool uses_ring(const std::string& name) const noexcept { return (void)name, true; }
    /// Fills the maps of the new generation; no packet can reach it yet. State maps are live:
    /// only what no live packet uses may be written there. A state map whose size has changed is new: what a hash held the
    /// daemon copies, what an array held is the plugin's to take over (Host::state() has it).
    virtual void fill(const Maps& maps) { (void)maps; }
    /// The new generation carries traffic. `maps` stays valid until the next commit() or stop().
    virtual void commit(std::shared_ptr<const Maps> maps) noexcept = 0;
};

class Plugin {
public:
    virtual ~Plugin() = default;
    /// Validates `config` (the instance's own map without the daemon's keys `module`,
    /// `on_error` and `orphan`; may be absent) and builds the new state beside the old, without touching the
    /// system. Reports every problem to config.problems(); the result is dropped if there was one.
    [[nodiscard]] virtual std::unique_ptr<Staged> stage(const Node& config, const Ports& ports) = 0;
    /// Once, right before the first commit, which may still fail to come (another plugin refuses): then stop()
    /// follows. Throwing refuses the configuration. Handlers started here run after the commit.
    virtual void start() {}
    /// Answers `evnfctl INSTANCE VERB ARGS…`. Throws UnknownVerb for what it does not know.
    virtual boost::json::value query(std::string_view verb, const std::vector<std::string>& args) = 0;
    /// What `daemon.metrics` tells of the plugin, at each scrape, every few seconds: cheap, since the control loop waits.
    /// The daemon prefixes the names with evnf_MODULE_ and adds the label `plugin`.
    virtual std::vector<MetricFamily> metrics() { return {}; }
    /// --replay: what this plugin's stage made of the packet, from the remark that it left
    /// (evnf_note); an object.
    virtual boost::json::value explain(const evnf_packet& packet, std::uint64_t note)
    {
        (void)packet, (void)note;
        return boost::json::object{};
    }
    /// Cancels all asynchronous work. Ring consumers have stopped already.
    virtual void stop() noexcept {}
};

/// Thrown by Plugin::query; `verbs` is what the plugin answers, for the message.
struct UnknownVerb {
    std::vector<std::string> verbs;
};

/// The one symbol of a plugin. Plain data: it is read before any code of the plugin runs.
struct PluginDescriptor {
    std::uint32_t abi;         ///< kPluginAbi at the plugin's build
    std::uint32_t layout;      ///< of its state maps; state of another layout is not reused
    const char* name;          ///< of the module
    const char* summary;       ///< the verb that --replay's summary shows, or null
    OnError on_error;          ///< the default of `on_error`
    std::unique_ptr<Plugin> (*create)(Host&);
};

} // namespace evnf

/// Declares the plugin's descriptor; the last line of its .cpp. Weak, because the unit tests link
/// several plugins into one program.
#define EVNF_PLUGIN(NAME, TYPE, LAYOUT, SUMMARY, ON_ERROR)                                             \
    extern "C" {                                                                                       \
    extern const evnf::PluginDescriptor evnf_plugin __attribute__((weak, visibility("default")));      \
    const evnf::PluginDescriptor evnf_plugin{                                                          \
        evnf::kPluginAbi, LAYOUT, NAME, SUMMARY, ON_ERROR,                                             \
        [](evnf::Host& host) -> std::unique_ptr<evnf::Plugin> { return std::make_unique<TYPE>(host); }}; \
    }
