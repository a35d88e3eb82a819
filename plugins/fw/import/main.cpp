// SPDX-License-Identifier: MIT
/// fw-import: what `evnfctl fw import` runs. Settings go to standard output, the report to standard error.
#include <boost/program_options.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>

#include <fmt/format.h>

#include "address_values.hpp"
#include "importer.hpp"
#include "save_file.hpp"

namespace {

namespace options = boost::program_options;
using namespace evnf::fw::iptables;

constexpr std::string_view kUsage = R"(usage: evnfctl fw import iptables-save|ip6tables-save FILE [OPTIONS]

Writes settings of fw that decide as the chain FORWARD does, and says on standard error what stays in netfilter.
FILE is what iptables-save wrote; - is standard input.

)";

enum ExitStatus { kDone = 0, kBadFile = 1, kUsageError = 2 };

struct Arguments {
    std::string path;
    ImportOptions import;
};

Arguments parse(int argc, char** argv)
{
    std::vector<std::string> words, ports, local;
    options::options_description visible{"options"}, all;
    // clang-format off
    visible.add_options()
        ("port", options::value(&ports)->value_name("NAME"), "a port of eVNF; with all of them, -i eth+ and ! -i eth0 are offloaded, too")
        ("local", options::value(&local)->value_name("ADDRESS"), "an address of this machine: packets to it go to netfilter, to INPUT")
        ("help,h", "print this text");
    // clang-format on
    all.add(visible).add_options()("words", options::value(&words));
    options::positional_options_description positional;
    positional.add("words", -1);
    options::variables_map given;
    options::store(options::command_line_parser(argc, argv).options(all).positional(positional).run(), given);
    options::notify(given);
    if (given.count("help")) {
        std::cout << kUsage << visible;
        std::exit(kDone);
    }
    if (words.size() != 2 || (words[0] != "iptables-save" && words[0] != "ip6tables-save"))
        throw options::error{"takes a format, iptables-save or ip6tables-save, and a file; see evnfctl fw import --help"};
    Arguments arguments{words[1], {}};
    arguments.import.file = words[1] == "-" ? "standard input" : words[1];
    arguments.import.family = words[0] == "iptables-save" ? Family::v4 : Family::v6;
    if (!ports.empty()) arguments.import.ports.emplace(ports.begin(), ports.end());
    for (const auto& address : local) {
        const auto network = network_of(address, arguments.import.family);
        if (!network) throw options::error{fmt::format("--local {}: is no address of the file's family", address)};
        arguments.import.local.push_back(prefixes_of(*network, arguments.import.family).front());
    }
    return arguments;
}

Imported import_file(const Arguments& arguments)
{
    if (arguments.path == "-") return import_rules(std::cin, arguments.import);
    std::ifstream file{arguments.path};
    if (!file) throw FileError{0, std::strerror(errno)};
    return import_rules(file, arguments.import);
}

int run(const Arguments& arguments)
try {
    const auto imported = import_file(arguments);
    std::cout << imported.settings << std::flush;
    std::cerr << imported.report;
    return std::cout ? kDone : kBadFile;
} catch (const FileError& error) {
    const auto line = error.line ? fmt::format(":{}", error.line) : "";
    std::cerr << fmt::format("{}{}: {}\n", arguments.import.file, line, error.what());
    return kBadFile;
}

} // namespace

int main(int argc, char** argv)
try {
    return run(parse(argc, argv));
} catch (const std::exception& error) {
    std::cerr << "evnfctl: " << error.what() << '\n';
    return kUsageError;
}
