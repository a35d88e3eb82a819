// SPDX-License-Identifier: MIT
/// evnfctl: asks a running evnfd, and prints its answer for people or as JSON.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "client.hpp"
#include "table.hpp"

namespace {

namespace json = boost::json;
namespace options = boost::program_options;

constexpr std::string_view kUsage = R"(usage: evnfctl [OPTIONS] COMMAND

  status                 state of the daemon, its ports and plugins
  stats                  counters of ports, drops and faults
  reload                 applies the configuration file, whole or not at all
  reload --confirm TIME  the same, and goes back to what was before unless 'confirm' comes within TIME
  confirm                keeps what 'reload --confirm' has applied
  detach                 takes the programs off every port and removes all state
  check FILE             validates a configuration file; needs no daemon
  INSTANCE VERB [ARG…]   asks a plugin: fw rules, fw unused, fw explain PACKET, fw log, fw connections, fw tracking,
                         dpi flows, dpi apps, lb backends, lb connections
  fw set VERB …          sets of prefixes: list [NAME], add NAME PREFIX…, del NAME PREFIX…, load NAME FILE, reset NAME
  fw import iptables-save FILE
                         writes rules of fw that decide as iptables does; needs no daemon

)";

constexpr std::chrono::milliseconds kBetweenQuestions{200};
constexpr const char* kSocket = "/run/evnf/evnfd.sock";

enum ExitStatus { kDone = 0, kRefused = 1, kNoDaemonOrUsage = 2 };

struct UsageError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct Arguments {
    std::string socket;
    bool json = false;
    bool follow = false;
    std::string trial; ///< reload: --confirm
    std::vector<std::string> words;
};

template <std::size_t N>
bool among(const std::array<std::string_view, N>& names, const std::string& name)
{
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// Becomes `evnfd --check -c FILE`: the evnfd beside this program, else the one in PATH.
[[noreturn]] void check(const std::string& file)
{
    const auto beside = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "evnfd";
    const std::array<const char*, 5> arguments{"evnfd", "--check", "-c", file.c_str(), nullptr};
    const auto argv = const_cast<char* const*>(arguments.data());
    execv(beside.c_str(), argv);
    execvp("evnfd", argv);
    throw std::system_error{errno, std::generic_category(), fmt::format("cannot run {}", beside.string())};
}

/// Becomes the program that a plugin has for a verb, ../lib/evnf/INSTANCE-VERB: it needs no daemon, and reads its arguments itself.
void become_tool(int argc, char** argv)
{
    if (argc < 3 || *argv[1] == '-' || *argv[2] == '-') return;
    const auto name = fmt::format("{}-{}", argv[1], argv[2]);
    if (name.find('/') != std::string::npos) return;
    const auto tool = std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "lib/evnf" / name;
    if (access(tool.c_str(), X_OK) != 0) return;
    execv(tool.c_str(), argv + 2);
    throw std::system_error{errno, std::generic_category(), fmt::format("cannot run {}", tool.string())};
}

/// What to send for the words of the command line: the command, and its arguments.
std::pair<std::string, std::vector<std::string>> command_of(const std::vector<std::string>& words)
{
    constexpr std::array<std::string_view, 5> simple{"status", "stats", "reload", "confirm", "detach"};
    constexpr std::array<std::string_view, 3> later{"doctor", "trace", "top"};
    if (words.empty()) throw UsageError{"no command; see evnfctl --help"};
    const std::string& first = words.front();
    if (among(later, first)) throw UsageError{fmt::format("not supported by this version: {}", first)};
    if (among(simple, first)) {
        if (words.size() > 1) throw UsageError{fmt::format("{} takes no arguments", first)};
        return {first, {}};
    }
    if (words.size() < 2) throw UsageError{fmt::format("unknown command: {}; see evnfctl --help", first)};
    return {first + ' ' + words[1], {words.begin() + 2, words.end()}};
}

/// The daemon reads the file of `INSTANCE set load NAME FILE`, and has another working directory.
void make_file_absolute(const std::string& command, std::vector<std::string>& args)
{
    if (command.ends_with(" set") && args.size() == 3 && args[0] == "load") args[2] = std::filesystem::absolute(args[2]);
}

/// What a reload on trial asks for; the answer without it.
std::string take_request_to_confirm(json::value& result, const Arguments& arguments)
{
    auto* const answer = result.if_object();
    const auto* const left = answer ? answer->if_contains("confirm_within_s") : nullptr;
    if (!left || arguments.trial.empty()) return "";
    const auto socket = arguments.socket == kSocket ? "" : fmt::format(" -s {}", arguments.socket);
    const auto text = fmt::format("confirm within {} s with: evnfctl{} confirm\n", left->to_number<std::int64_t>(), socket);
    answer->erase("confirm_within_s");
    return text;
}

void print(const std::string& command, json::value result, const Arguments& arguments)
{
    if (arguments.json) {
        std::cout << json::serialize(result) << '\n';
        return;
    }
    const auto request = take_request_to_confirm(result, arguments);
    std::cout << evnf::ctl::to_text(result) << request;
    if (const json::array* rows = result.if_array(); rows && rows->empty())
        std::cout << fmt::format("no {}\n", command.substr(command.find(' ') + 1));
}

void print_more(const json::array& rows, evnf::ctl::GrowingTable& table, bool as_json)
{
    if (!as_json) std::cout << table.add(rows);
    for (const json::value& row : rows)
        if (as_json) std::cout << json::serialize(row) << '\n';
    std::cout << std::flush;
}

/// For verbs that answer `since CURSOR` with the next cursor and the rows up to it: goes on until it is interrupted.
[[noreturn]] void follow(const Arguments& arguments, const std::string& command, std::vector<std::string> args)
{
    evnf::ctl::GrowingTable table;
    args.push_back("since");
    for (const std::size_t known = args.size();; std::this_thread::sleep_for(kBetweenQuestions)) {
        const json::value answer = evnf::ctl::request(arguments.socket, command, args);
        const json::object* object = answer.if_object();
        if (!object || !object->contains("cursor")) throw UsageError{fmt::format("{} cannot be followed", command)};
        if (const auto missed = object->at("missed").to_number<std::uint64_t>(); missed && args.size() > known)
            std::cerr << fmt::format("evnfctl: {} rows came too fast to be shown\n", missed);
        print_more(object->at("rows").as_array(), table, arguments.json);
        args.resize(known);
        args.push_back(std::to_string(object->at("cursor").to_number<std::uint64_t>()));
    }
}

Arguments parse(int argc, char** argv)
{
    Arguments arguments;
    options::options_description visible{"options"}, all;
    // clang-format off
    visible.add_options()
        ("socket,s", options::value(&arguments.socket)->default_value(kSocket)->value_name("PATH"),
         "control socket of the daemon")
        ("json", options::bool_switch(&arguments.json), "print the answer as one line of JSON")
        ("follow,f", options::bool_switch(&arguments.follow), "go on with what is new (fw log)")
        ("number,n", options::value<unsigned>()->value_name("N"), "how many of the latest (fw log)")
        ("confirm", options::value(&arguments.trial)->value_name("TIME"), "reload: go back after TIME (1s to 1h) unless confirmed")
        ("help,h", "print this text")
        ("version", "print the version");
    // clang-format on
    all.add(visible).add_options()("words", options::value(&arguments.words));
    options::positional_options_description positional;
    positional.add("words", -1);
    options::variables_map given;
    options::store(options::command_line_parser(argc, argv).options(all).positional(positional).run(), given);
    options::notify(given);
    if (given.count("help")) {
        std::cout << kUsage << visible;
        std::exit(kDone);
    }
    if (given.count("version")) {
        std::cout << "evnfctl " EVNF_VERSION "\n";
        std::exit(kDone);
    }
    if (given.count("number")) {
        arguments.words.push_back("-n");
        arguments.words.push_back(std::to_string(given["number"].as<unsigned>()));
    }
    return arguments;
}

void run(const Arguments& arguments)
{
    const std::vector<std::string>& words = arguments.words;
    if (!words.empty() && words.front() == "check") {
        if (words.size() != 2) throw UsageError{"check takes one file"};
        check(words[1]);
    }
    auto [command, args] = command_of(words);
    make_file_absolute(command, args);
    if (!arguments.trial.empty()) {
        if (command != "reload") throw UsageError{"--confirm goes with reload"};
        args = {"--confirm", arguments.trial};
    }
    if (arguments.follow) follow(arguments, command, args);
    print(command, evnf::ctl::request(arguments.socket, command, args), arguments);
}

} // namespace

int main(int argc, char** argv)
try {
    become_tool(argc, argv);
    run(parse(argc, argv));
    return kDone;
} catch (const evnf::ctl::Refused& refused) {
    std::cerr << "evnfctl: " << refused.what() << '\n';
    return kRefused;
} catch (const std::exception& error) {
    std::cerr << "evnfctl: " << error.what() << '\n';
    return kNoDaemonOrUsage;
}
