// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <boost/asio/io_context.hpp>
#include <boost/program_options.hpp>
#include <iostream>

#include "daemon.hpp"
#include "log.hpp"
#include "packet_runner.hpp"
#include "replay.hpp"

namespace {

namespace options = boost::program_options;

// Contract, section 2.
constexpr int kConfigurationError = 1;
constexpr int kFailure = 2;

constexpr const char* kUsage = "usage: evnfd [-c FILE] [--foreground]\n"
                               "       evnfd --check[=load] -c FILE\n"
                               "       evnfd --replay PCAP -c FILE --port NAME [--write OUT.pcap] [--json]\n\n";

options::options_description describe_options()
{
    options::options_description description{100};
    description.add_options()
        ("config,c", options::value<std::string>()->default_value("/etc/evnf/evnf.yaml"), "configuration file")
        ("foreground", "log with time stamps, for a terminal, instead of for journald")
        ("check", options::value<std::string>()->implicit_value("file", ""),
         "validate the configuration and exit; --check=load also loads every program through the kernel's verifier")
        ("replay", options::value<std::string>(), "run a pcap or pcapng through the chain of --port, attached to nothing")
        ("port", options::value<std::string>(), "--replay: the port whose chain the packets take")
        ("write", options::value<std::string>(), "--replay: write the packets that were forwarded or replied")
        ("json", "--replay: one JSON object a line")
        ("version", "print the version")
        ("help", "print this");
    return description;
}

options::variables_map parse(int argc, char** argv, const options::options_description& description)
{
    options::variables_map given;
    options::store(options::command_line_parser{argc, argv}.options(description).positional({}).run(), given);
    options::notify(given);
    const bool replay = given.count("replay") != 0;
    for (const char* name : {"port", "write", "json"})
        if (given.count(name) && !replay) throw options::error{fmt::format("--{} goes with --replay", name)};
    if (replay && !given.count("port")) throw options::error{"--replay needs --port NAME"};
    if (given.count("check") && given["check"].as<std::string>() != "file" && given["check"].as<std::string>() != "load")
        throw options::error{"--check takes nothing or =load"};
    return given;
}

evnf::InstanceContext offline_context(boost::asio::io_context& io, const evnf::FastPathClock* clock)
{
    return {io.get_executor(), clock, evnf::make_log(evnf::LogStyle::plain, spdlog::level::warn), evnf::plugin_directory(), true};
}

void check(const std::string& file, bool load)
{
    boost::asio::io_context io;
    evnf::check_configuration(file, offline_context(io, nullptr));
    if (!load) return;
    const evnf::FastPathClock clock;
    evnf::Dataplane dataplane{offline_context(io, &clock), nullptr, false};
    auto candidate = dataplane.stage_file(file);
    dataplane.load(candidate);
}

void replay(const options::variables_map& given)
{
    boost::asio::io_context io;
    const evnf::FastPathClock clock;
    evnf::ReplayOptions replay{given["replay"].as<std::string>(), given["config"].as<std::string>(),
                               given["port"].as<std::string>(), std::nullopt, given.count("json") != 0};
    if (given.count("write")) replay.write = given["write"].as<std::string>();
    evnf::replay(replay, offline_context(io, &clock), std::cout);
}

void serve(const options::variables_map& given)
{
    const auto file = given["config"].as<std::string>();
    evnf::Problems problems{file};
    const auto settings = evnf::read_settings(problems);
    if (!problems.empty()) throw evnf::ConfigError{problems.errors()};
    const auto style = given.count("foreground") ? evnf::LogStyle::terminal : evnf::LogStyle::journal;
    boost::asio::io_context io{1};
    evnf::Daemon daemon{io, file, settings, evnf::make_log(style, settings.log_level)};
    daemon.run();
}

} // namespace

int main(int argc, char** argv)
{
    const auto description = describe_options();
    try {
        const auto given = parse(argc, argv, description);
        if (given.count("help"))
            std::cout << kUsage << description;
        else if (given.count("version"))
            std::cout << "evnfd " << EVNF_VERSION << '\n';
        else if (given.count("check"))
            check(given["config"].as<std::string>(), given["check"].as<std::string>() == "load");
        else if (given.count("replay"))
            replay(given);
        else
            serve(given);
        return 0;
    } catch (const options::error& error) {
        std::cerr << "evnfd: " << error.what() << '\n' << kUsage << description;
        return kFailure;
    } catch (const evnf::ConfigError& error) {
        std::cerr << error.what() << '\n';
        return kConfigurationError;
    } catch (const std::exception& error) {
        std::cerr << "evnfd: " << error.what() << '\n';
        return kFailure;
    }
}
