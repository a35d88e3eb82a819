// SPDX-License-Identifier: MIT
/// What a start makes of the pins that it finds, in a bpffs of the test's own.
#include <fmt/format.h>
#include <linux/if_link.h>
#include <sched.h>
#include <spdlog/sinks/ostream_sink.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <sstream>

#include "catch.hpp"
#include "evnfd/dataplane.hpp"
#include "evnfd/log.hpp"
#include "evnfd/recovery.hpp"
#include "pass_bpf.skel.h"

namespace {

namespace fs = std::filesystem;

using Catch::Matchers::ContainsSubstring;
using evnf::Dataplane;
using evnf::Fd;
using evnf::MapRef;
using evnf::Meta;

constexpr uid_t kSomebody = 65534;

/// A bpffs, and interfaces, that only this process sees.
class Bpffs {
public:
    Bpffs()
    {
        REQUIRE(unshare(CLONE_NEWNS | CLONE_NEWNET) == 0);
        REQUIRE(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
        fs::create_directories(where_);
        REQUIRE(mount("bpffs", where_.c_str(), "bpf", 0, "mode=0700") == 0);
    }
    ~Bpffs()
    {
        umount2(where_.c_str(), MNT_DETACH);
        std::error_code ignored;
        fs::remove(where_, ignored);
    }
    fs::path pins() const { return where_ / "evnf"; }

private:
    fs::path where_ = fs::temp_directory_path() / fmt::format("evnf-pins-{}", getpid());
};

Fd make_map(bpf_map_type type, std::uint32_t key, std::uint32_t value, std::uint32_t entries)
{
    Fd fd{bpf_map_create(type, "test", key, value, entries, nullptr)};
    REQUIRE(fd);
    return fd;
}

Fd make_hash(std::uint32_t entries)
{
    return make_map(BPF_MAP_TYPE_HASH, 4, 4, entries);
}

Fd make_chain()
{
    return make_map(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1);
}

Fd make_program(bpf_prog_type type = BPF_PROG_TYPE_XDP)
{
    const bpf_insn pass[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    Fd fd{bpf_prog_load(type, "test", "GPL", pass, 2, nullptr)};
    REQUIRE(fd);
    return fd;
}

/// On the loopback device of the test's own network namespace.
Fd make_link(const Fd& program)
{
    LIBBPF_OPTS(bpf_link_create_opts, options, .flags = XDP_FLAGS_SKB_MODE);
    Fd fd{bpf_link_create(program.get(), 1, BPF_XDP, &options)};
    REQUIRE(fd);
    return fd;
}

Fd make_record(std::uint32_t generation, std::uint32_t version = evnf::kMetaVersion)
{
    Fd fd = make_map(BPF_MAP_TYPE_ARRAY, 4, sizeof(Meta), 1);
    MapRef{fd.get(), "meta"}.update(__u32{0}, Meta{.version = version, .generation = generation});
    return fd;
}

std::uint32_t id(const Fd& object)
{
    // The id is at the same place for programs and maps.
    bpf_prog_info info{};
    __u32 size = sizeof info;
    REQUIRE(bpf_obj_get_info_by_fd(object.get(), &info, &size) == 0);
    return info.id;
}

std::uint32_t program_of(const Fd& link)
{
    bpf_link_info info{};
    __u32 size = sizeof info;
    REQUIRE(bpf_obj_get_info_by_fd(link.get(), &info, &size) == 0);
    return info.prog_id;
}

/// A pin directory and the daemons that come and go on it.
struct Scene {
    Bpffs bpffs;
    std::ostringstream said;
    std::shared_ptr<spdlog::logger> log =
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(said));

    fs::path path(const std::string& name) const { return bpffs.pins() / name; }
    bool has(const std::string& name) const { return fs::exists(path(name)); }
    void pin(const Fd& fd, const std::string& name) const { evnf::PinDirectory{bpffs.pins()}.pin(fd.get(), name); }
    Fd open(const std::string& name) const { return evnf::PinDirectory{bpffs.pins()}.open(name); }
    /// The first thing of a start; gives what it said.
    std::string recover()
    {
        said.str("");
        evnf::recover_pins(bpffs.pins(), *log);
        return said.str();
    }
};

/// What a daemon does with its pins, but for its ports.
class PinnedDataplane {
public:
    explicit PinnedDataplane(Scene& scene) : pins_{evnf::recover_pins(scene.bpffs.pins(), *scene.log)}, dataplane_{context(scene), &pins_, false} {}

    Dataplane& operator*() { return dataplane_; }
    Dataplane::Candidate load(const std::string& plugin, const std::string& module)
    {
        auto candidate = dataplane_.stage_text(
            fmt::format("ports:\n  - {{name: eth0, chain: [{0}]}}\nplugins:\n  {0}: {{module: {1}}}\n", plugin, module), "evnf.yaml");
        dataplane_.load(candidate);
        return candidate;
    }
    void apply(const std::string& plugin, const std::string& module) { dataplane_.commit(load(plugin, module)); }
    /// Up to the point from which the next start goes on.
    void begin_swap(const Dataplane::Candidate& candidate)
    {
        pins_.pin(candidate.generation->framework_map("evnf_chain").fd(), evnf::chain_pin(candidate.blueprint.number));
    }
    MapRef counted() const { return dataplane_.generation().maps("p")->get("counted"); }

private:
    evnf::InstanceContext context(Scene& scene)
    {
        static const evnf::FastPathClock clock;
        return {io_.get_executor(), &clock, scene.log, EVNF_LOADER_PLUGIN_DIR, true};
    }
    boost::asio::io_context io_;
    evnf::PinDirectory pins_;
    Dataplane dataplane_;
};

/// A value in the plugin's state, by which it is recognized.
constexpr std::uint32_t kKey = 7, kValue = 11;

void leave_state(Scene& scene, const std::string& module = "counting")
{
    PinnedDataplane daemon{scene};
    daemon.apply("p", module);
    daemon.counted().update(kKey, kValue);
}

} // namespace

TEST_CASE("pins: a program where a map belongs is named, and gone")
{
    Scene scene;
    scene.pin(make_program(), "state/fw/fw_counters");
    CHECK_THAT(scene.recover(), ContainsSubstring("state/fw/fw_counters: is an XDP or tc program where a map belongs: not trusted, removed"));
    CHECK_FALSE(scene.has("state/fw/fw_counters"));
}

TEST_CASE("pins: a map where a link, an entry or a chain belongs is named, and gone")
{
    Scene scene;
    for (const std::string name : {"links/eth0", "entries/eth0", "chains/3"}) scene.pin(make_hash(4), name);
    const auto said = scene.recover();
    CHECK_THAT(said, ContainsSubstring("links/eth0: is a map where an XDP link belongs"));
    CHECK_THAT(said, ContainsSubstring("entries/eth0: is a map where an XDP or tc program belongs"));
    CHECK_THAT(said, ContainsSubstring("chains/3: is a map where a PROG_ARRAY belongs"));
    for (const std::string name : {"links/eth0", "entries/eth0", "chains/3"}) CHECK_FALSE(scene.has(name));
}

TEST_CASE("pins: a program that is no XDP program is no entry")
{
    Scene scene;
    scene.pin(make_program(BPF_PROG_TYPE_SOCKET_FILTER), "entries/eth0");
    scene.recover();
    CHECK_FALSE(scene.has("entries/eth0"));
}

TEST_CASE("pins: what has no place in the directory is named, and gone")
{
    Scene scene;
    scene.pin(make_hash(4), "mine");
    scene.pin(make_hash(4), "chains/first");
    scene.pin(make_hash(4), "tools/a/b");
    fs::create_symlink("elsewhere", scene.path("state"));
    const auto said = scene.recover();
    for (const std::string name : {"mine", "chains/first", "tools", "state"}) {
        CHECK_THAT(said, ContainsSubstring("evnf/" + name + ": "));
        CHECK_FALSE(scene.has(name));
    }
    CHECK_THAT(said, !ContainsSubstring("tools/a")); // one line for a directory
}

TEST_CASE("pins: a pin that others may write, or that is somebody else's, is not trusted")
{
    Scene scene;
    scene.pin(make_hash(4), "state/fw/open");
    scene.pin(make_hash(4), "state/fw/foreign");
    scene.pin(make_hash(4), "state/fw/ours");
    REQUIRE(chmod(scene.path("state/fw/open").c_str(), 0620) == 0);
    REQUIRE(chown(scene.path("state/fw/foreign").c_str(), kSomebody, 0) == 0);
    const auto said = scene.recover();
    CHECK_THAT(said, ContainsSubstring("state/fw/open: others may write it (mode 0620)"));
    CHECK_THAT(said, ContainsSubstring(fmt::format("state/fw/foreign: belongs to uid {}", kSomebody)));
    CHECK_FALSE(scene.has("state/fw/open"));
    CHECK_FALSE(scene.has("state/fw/foreign"));
    CHECK(scene.has("state/fw/ours"));
}

TEST_CASE("pins: a directory that others may enter is refused with the remedy, and untouched")
{
    Scene scene;
    scene.pin(make_hash(4), "state/fw/fw_counters");
    REQUIRE(chmod(scene.bpffs.pins().c_str(), 0755) == 0);
    CHECK_THROWS_WITH(scene.recover(), ContainsSubstring("with mode 0700: remove it, or chown and chmod it"));
    CHECK(scene.has("state/fw/fw_counters"));
}

TEST_CASE("pins: a directory without objections is adopted in silence and as it is")
{
    Scene scene;
    const Fd program = make_program();
    scene.pin(program, "entries/lo");
    scene.pin(make_link(program), "links/lo");
    scene.pin(make_chain(), "chains/4");
    scene.pin(make_record(4), "state/evnf/meta");
    CHECK(scene.recover().empty());
    for (const std::string name : {"entries/lo", "links/lo", "chains/4", "state/evnf/meta"}) CHECK(scene.has(name));
}

TEST_CASE("pins: a swap that had not begun is undone")
{
    Scene scene;
    const Fd old_entry = make_program(), new_entry = make_program(), old_state = make_hash(4);
    const Fd link = make_link(old_entry);
    scene.pin(link, "links/lo");
    scene.pin(old_entry, "entries/lo");
    scene.pin(make_chain(), "chains/4");
    scene.pin(make_record(4), "state/evnf/meta");
    scene.pin(old_state, "state/lb/connections");
    scene.pin(make_hash(8), "next/state/lb/connections");
    scene.pin(make_record(5), "next/state/evnf/meta");
    scene.pin(new_entry, "next/entries/lo");
    scene.recover();
    CHECK(program_of(link) == id(old_entry));
    CHECK(id(scene.open("state/lb/connections")) == id(old_state));
    CHECK_FALSE(scene.has("next"));
}

TEST_CASE("pins: a swap that had begun is finished: links, entries and state")
{
    Scene scene;
    const Fd old_entry = make_program(), new_entry = make_program(), old_state = make_hash(4), new_state = make_hash(8);
    const Fd link = make_link(old_entry);
    scene.pin(link, "links/lo");
    scene.pin(old_entry, "entries/lo");
    scene.pin(make_chain(), "chains/4");
    scene.pin(make_record(4), "state/evnf/meta");
    scene.pin(old_state, "state/lb/connections");
    scene.pin(new_state, "next/state/lb/connections");
    scene.pin(make_record(5), "next/state/evnf/meta");
    scene.pin(new_entry, "next/entries/lo");
    scene.pin(make_chain(), "chains/5");
    // A connection that came by the old chain after the copy that the swap begins with.
    MapRef{old_state.get(), "old"}.update(kKey, kValue);
    CHECK_THAT(scene.recover(), ContainsSubstring("the last evnfd ended while it put generation 5 in charge: finished"));
    CHECK(program_of(link) == id(new_entry));
    CHECK(id(scene.open("entries/lo")) == id(new_entry));
    CHECK(id(scene.open("state/lb/connections")) == id(new_state));
    CHECK(MapRef{new_state.get(), "new"}.find<std::uint32_t>(kKey) == kValue);
    CHECK(scene.has("chains/4")); // until a generation of the new daemon carries traffic
    CHECK_FALSE(scene.has("next"));
    CHECK(scene.recover().empty());
}

TEST_CASE("pins: a finished swap hands nothing to a plugin of another layout")
{
    Scene scene;
    const Fd old_state = make_hash(4), new_state = make_hash(8), old_record = make_record(4);
    MapRef{old_record.get(), "meta"}.update(__u32{0}, Meta{.version = evnf::kMetaVersion, .generation = 4, .layouts = {0, 0, 1}});
    MapRef{old_state.get(), "old"}.update(kKey, kValue);
    scene.pin(old_record, "state/evnf/meta");
    scene.pin(old_state, "state/lb/connections");
    scene.pin(new_state, "next/state/lb/connections");
    scene.pin(make_record(5), "next/state/evnf/meta");
    scene.pin(make_chain(), "chains/5");
    scene.recover();
    CHECK_FALSE(MapRef{new_state.get(), "new"}.find<std::uint32_t>(kKey));
}

TEST_CASE("pins: state is there again after a restart")
{
    Scene scene;
    leave_state(scene);
    PinnedDataplane daemon{scene};
    daemon.apply("p", "counting");
    CHECK(daemon.counted().find<std::uint32_t>(kKey) == kValue);
    CHECK((*daemon).generation().number() == 2);
}

TEST_CASE("pins: state of another module under the same name is dropped, and said to be")
{
    Scene scene;
    leave_state(scene);
    scene.said.str("");
    PinnedDataplane daemon{scene};
    daemon.apply("p", "counting_too");
    CHECK_FALSE(daemon.counted().find<std::uint32_t>(kKey));
    CHECK_THAT(scene.said.str(), ContainsSubstring("plugin p: its state is of another layout: starts empty"));
}

TEST_CASE("pins: a refused reload that would have dropped state drops none")
{
    Scene scene;
    PinnedDataplane daemon{scene};
    daemon.apply("p", "counting");
    daemon.counted().update(kKey, kValue);
    CHECK_THROWS(daemon.load("p", "rejected"));
    daemon.apply("p", "counting");
    CHECK(daemon.counted().find<std::uint32_t>(kKey) == kValue);
}

TEST_CASE("pins: state of another shape is replaced, and said to be")
{
    Scene scene;
    leave_state(scene);
    scene.pin(make_map(BPF_MAP_TYPE_HASH, 8, 8, 16), "state/p/counted");
    PinnedDataplane{scene}.apply("p", "counting");
    CHECK_THAT(scene.said.str(), ContainsSubstring("p: state map counted has another layout: its content is not kept"));
    CHECK(MapRef{scene.open("state/p/counted").get(), "counted"}.info().key_size == 4);
}

TEST_CASE("pins: state of another size keeps its entries")
{
    Scene scene;
    leave_state(scene);
    const Fd smaller = make_hash(2);
    MapRef{smaller.get(), "counted"}.update(kKey, kValue);
    scene.pin(smaller, "state/p/counted");
    PinnedDataplane daemon{scene};
    daemon.apply("p", "counting");
    CHECK(daemon.counted().find<std::uint32_t>(kKey) == kValue);
    CHECK(daemon.counted().info().max_entries == 16);
}

TEST_CASE("pins: a map that an older version did not have is made, beside what it had")
{
    Scene scene;
    leave_state(scene);
    fs::remove(scene.path("state/evnf/evnf_ports"));
    PinnedDataplane daemon{scene};
    daemon.apply("p", "counting");
    CHECK(scene.has("state/evnf/evnf_ports"));
    CHECK(daemon.counted().find<std::uint32_t>(kKey) == kValue);
}

TEST_CASE("pins: a kill before the swap leaves the state that traffic uses")
{
    Scene scene;
    leave_state(scene);
    {
        PinnedDataplane killed{scene};
        killed.load("p", "counting_too");
    }
    PinnedDataplane daemon{scene};
    daemon.apply("p", "counting");
    CHECK(daemon.counted().find<std::uint32_t>(kKey) == kValue);
}

TEST_CASE("pins: a kill in the swap leaves the state of the new generation, with its layouts and names")
{
    Scene scene;
    leave_state(scene);
    {
        PinnedDataplane killed{scene};
        const auto candidate = killed.load("p", "counting_too");
        candidate.generation->maps("p")->get("counted").update(kKey, kValue + 1); // as its programs would
        killed.begin_swap(candidate);
    }
    PinnedDataplane daemon{scene};
    daemon.apply("p", "counting_too");
    CHECK(daemon.counted().find<std::uint32_t>(kKey) == kValue + 1);
    CHECK((*daemon).generation().number() == 3);
}

TEST_CASE("pins: a number is never given twice, whatever became of the record")
{
    Scene scene;
    scene.pin(make_chain(), "chains/9");
    PinnedDataplane daemon{scene};
    daemon.apply("p", "counting");
    CHECK((*daemon).generation().number() == 10);
    CHECK(scene.has("chains/9")); // its traffic goes on until the ports are swapped
}

TEST_CASE("pins: state of another version is not adopted, and stays until a generation of ours carries traffic")
{
    Scene scene;
    leave_state(scene);
    scene.pin(make_record(1, evnf::kMetaVersion + 1), "state/evnf/meta");
    scene.pin(make_hash(4), "state/gone/counted");
    PinnedDataplane daemon{scene};
    CHECK_THAT(scene.said.str(), ContainsSubstring("state of another version of evnfd"));
    CHECK(scene.has("state/gone/counted"));
    daemon.apply("p", "counting");
    CHECK_FALSE(daemon.counted().find<std::uint32_t>(kKey));
    CHECK_FALSE(scene.has("state/gone/counted"));
}

TEST_CASE("pins: nothing stays pinned that the new generation does not use")
{
    Scene scene;
    leave_state(scene);
    scene.pin(make_hash(4), "state/p/counted-next"); // evnfd 0.1, killed in a reload
    scene.pin(make_hash(4), "state/p/of_an_older_version");
    scene.pin(make_hash(4), "state/not_configured/map");
    PinnedDataplane daemon{scene};
    daemon.apply("p", "counting");
    CHECK_FALSE(scene.has("state/p/counted-next"));
    CHECK_FALSE(scene.has("state/p/of_an_older_version"));
    CHECK_FALSE(scene.has("state/not_configured"));
    CHECK(scene.has("state/p/counted"));
}

TEST_CASE("pins: a refused reload leaves no pin behind")
{
    Scene scene;
    PinnedDataplane daemon{scene};
    daemon.apply("p", "counting");
    CHECK_THROWS(daemon.load("p", "throws_in_start"));
    CHECK_FALSE(scene.has("next"));
}
