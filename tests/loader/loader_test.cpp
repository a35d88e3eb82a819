// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>

#include "catch.hpp"
#include "evnfd/dataplane.hpp"
#include "evnfd/log.hpp"

namespace {

using evnf::Dataplane;

evnf::InstanceContext context(boost::asio::io_context& io, std::filesystem::path directory = EVNF_LOADER_PLUGIN_DIR)
{
    static const evnf::FastPathClock clock;
    return {io.get_executor(), &clock, evnf::make_log(evnf::LogStyle::plain, spdlog::level::off), std::move(directory), true};
}

std::string configuration(const std::string& plugin)
{
    return fmt::format("ports:\n  - {{name: eth0, chain: [{0}]}}\nplugins:\n  {0}:\n", plugin);
}

/// A data plane on which the plugin that behaves runs already.
struct Running {
    boost::asio::io_context io;
    Dataplane dataplane{context(io), nullptr, false};

    Running() { apply("good"); }
    void apply(const std::string& plugin)
    {
        auto candidate = dataplane.stage_text(configuration(plugin), "evnf.yaml");
        dataplane.load(candidate);
        dataplane.commit(std::move(candidate));
    }
    /// What the plugin's configuration is refused with.
    std::string refusal(const std::string& plugin)
    {
        try {
            apply(plugin);
        } catch (const std::exception& error) {
            return error.what();
        }
        return "it was accepted";
    }
    /// Is what ran before still what runs?
    bool untouched() const
    {
        return dataplane.generation().number() == 1 && dataplane.instances().size() == 1 && dataplane.instances().contains("good");
    }
};

} // namespace

using Catch::Matchers::ContainsSubstring;

TEST_CASE("loader: a plugin that behaves carries traffic")
{
    Running running;
    CHECK(running.untouched());
}

TEST_CASE("loader: a plugin that is not there is refused by its path and the place of its name")
{
    Running running;
    const auto message = running.refusal("missing");
    CHECK_THAT(message, ContainsSubstring("evnf.yaml:4:3: plugins.missing:"));
    CHECK_THAT(message, ContainsSubstring("missing.so: No such file or directory"));
    CHECK(running.untouched());
}

TEST_CASE("loader: a shared object without a descriptor is refused")
{
    Running running;
    CHECK_THAT(running.refusal("no_descriptor"), ContainsSubstring("no_descriptor.so: is no eVNF plugin"));
    CHECK(running.untouched());
}

TEST_CASE("loader: a plugin of another ABI is refused with both numbers, and none of its code runs")
{
    Running running;
    const auto message = running.refusal("wrong_abi");
    CHECK_THAT(message, ContainsSubstring(fmt::format("was built for plugin ABI {}, this evnfd has ABI {}", evnf::kPluginAbi + 1, evnf::kPluginAbi)));
    CHECK(running.untouched());
}

TEST_CASE("loader: a plugin that throws in create is refused and named")
{
    Running running;
    CHECK_THAT(running.refusal("throws_in_create"), ContainsSubstring("plugin throws_in_create: create failed: no such luck"));
    CHECK(running.untouched());
    CHECK(running.io.poll() == 1); // the handler that it had posted, which must not reach the plugin
}

TEST_CASE("loader: a plugin that throws in stage is refused and named")
{
    Running running;
    CHECK_THAT(running.refusal("throws_in_stage"), ContainsSubstring("plugin throws_in_stage: stage failed: no such luck"));
    CHECK(running.untouched());
}

TEST_CASE("loader: a plugin that throws in start is refused before any packet can reach it")
{
    Running running;
    CHECK_THAT(running.refusal("throws_in_start"), ContainsSubstring("plugin throws_in_start: start failed: no such luck"));
    CHECK(running.untouched());
}

TEST_CASE("loader: what a query throws is an answer, whatever its type")
{
    Running running;
    running.apply("throws_in_query");
    CHECK_THROWS_WITH(running.dataplane.instances().at("throws_in_query")->query("x", {}),
                      "throws_in_query: query threw what is no std::exception");
}

TEST_CASE("loader: a verb that a plugin does not know is answered with those that it does")
{
    Running running;
    CHECK_THROWS_WITH(running.dataplane.instances().at("good")->query("x", {}), "good does not know 'x'; it answers: nothing");
}

TEST_CASE("loader: a stage that does not go on fails the self-test")
{
    Running running;
    CHECK_THAT(running.refusal("stuck"), ContainsSubstring("self-test of port eth0: the probe did not reach stuck"));
    CHECK(running.untouched());
}

TEST_CASE("loader: a program that the verifier refuses is refused with the verifier's last words")
{
    Running running;
    const auto message = running.refusal("rejected");
    CHECK_THAT(message, ContainsSubstring("rejected: cannot load its XDP program: the kernel's verifier refuses it"));
    CHECK_THAT(message, ContainsSubstring("invalid access to packet"));
    CHECK(running.untouched());
}

TEST_CASE("loader: a BPF object with two programs is refused")
{
    Running running;
    CHECK_THAT(running.refusal("two_programs"), ContainsSubstring("its BPF object has more than one XDP program"));
    CHECK(running.untouched());
}

TEST_CASE("loader: a plugin that others may write is refused")
{
    namespace fs = std::filesystem;
    const auto directory = fs::temp_directory_path() / fmt::format("evnf-loader-{}", getpid());
    fs::create_directories(directory);
    const auto copy = directory / "good.so";
    fs::copy_file(fs::path{EVNF_LOADER_PLUGIN_DIR} / "good.so", copy);
    chmod(copy.c_str(), 0666);
    CHECK_THROWS_WITH(evnf::PluginLibrary(directory, "good"), ContainsSubstring("must belong to root and be writable by nobody else"));
    fs::remove_all(directory);
}
