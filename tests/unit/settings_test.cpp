// SPDX-License-Identifier: MIT
#include "evnfd/settings.hpp"

#include "catch.hpp"

namespace {

using evnf::Problems;
using evnf::read_settings;

std::vector<std::string> problems_of(const std::string& yaml)
{
    Problems problems{"evnf.yaml"};
    read_settings(yaml, problems);
    return problems.errors();
}

using Lines = std::vector<std::string>;

} // namespace

TEST_CASE("settings: a small file gets the defaults of the contract")
{
    Problems problems{"evnf.yaml"};
    const auto settings = read_settings("ports:\n  - {name: eth0}\n", problems);
    CHECK(problems.errors().empty());
    CHECK(settings.control_socket == "/run/evnf/evnfd.sock");
    CHECK(settings.pin_dir == "/sys/fs/bpf/evnf");
    CHECK(settings.on_stop == evnf::OnStop::keep);
    CHECK(settings.mode == evnf::ForwardingMode::route);
    REQUIRE(settings.ports.size() == 1);
    CHECK(settings.ports[0].hook == evnf::Hook::automatic);
    CHECK(settings.ports[0].chain.empty());
}

TEST_CASE("settings: a scalar stands for a list of one")
{
    Problems problems{"evnf.yaml"};
    const auto settings = read_settings("ports: {name: eth0, chain: fw}\nplugins: {fw: }\n", problems);
    CHECK(problems.errors().empty());
    REQUIRE(settings.ports.size() == 1);
    CHECK(settings.ports[0].chain == Lines{"fw"});
}

TEST_CASE("settings: all problems are told, each with its place")
{
    CHECK(problems_of("daemon:\n"
                      "  on_stop: never\n"
                      "  pin_dri: /sys/fs/bpf/x\n"
                      "ports:\n"
                      "  - {name: eth0, chain: [fw, dpi]}\n"
                      "  - {name: eth0}\n"
                      "plugins:\n"
                      "  fw: {on_error: explode}\n") ==
          Lines{"evnf.yaml:2:12: daemon.on_stop: must be one of keep, detach, not 'never'",
                "evnf.yaml:3:3: daemon.pin_dri: unknown key (did you mean 'pin_dir'?)",
                "evnf.yaml:5:30: ports[0].chain[1]: 'dpi' is not in plugins",
                "evnf.yaml:6:5: ports[1]: 'eth0' is there twice",
                "evnf.yaml:8:18: plugins.fw.on_error: must be one of drop, skip, not 'explode'"});
}

TEST_CASE("settings: a file that is no YAML is refused where it stops being YAML")
{
    const auto lines = problems_of("ports: [\n  {name: eth0\n");
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].rfind("evnf.yaml:3:1: ", 0) == 0);
}

TEST_CASE("settings: a file that is not there is refused by its name and errno")
{
    Problems problems{"/nowhere/evnf.yaml"};
    read_settings(problems);
    CHECK(problems.errors() == Lines{"/nowhere/evnf.yaml:1:1: cannot read the configuration: No such file or directory"});
}

TEST_CASE("settings: metrics are off or at an address and a port")
{
    CHECK(problems_of("daemon: {metrics: \"127.0.0.1:9471\"}\nports: [{name: eth0}]\n").empty());
    CHECK(problems_of("daemon: {metrics: \"[::1]:9471\"}\nports: [{name: eth0}]\n").empty());
    CHECK(problems_of("daemon: {metrics: off}\nports: [{name: eth0}]\n").empty());
    CHECK(problems_of("daemon: {metrics: 9471}\nports: [{name: eth0}]\n") ==
          Lines{"evnf.yaml:1:19: daemon.metrics: must be off or ADDRESS:PORT, such as 127.0.0.1:9471 or \"[::1]:9471\", not '9471'"});
}

TEST_CASE("settings: a chain visits a plugin once")
{
    CHECK(problems_of("ports: [{name: eth0, chain: [fw, fw]}]\nplugins: {fw: }\n") ==
          Lines{"evnf.yaml:1:34: ports[0].chain[1]: 'fw' is there twice"});
}

TEST_CASE("settings: a tap has a chain and no wire")
{
    CHECK(problems_of("ports: [{name: a, tap: true, chain: [fw]}]\nplugins: {fw: }\n").empty());
    CHECK(problems_of("ports: [{name: a, tap: true}]\n") ==
          Lines{"evnf.yaml:1:24: ports[0].tap: needs a chain: what arrives at a tap goes nowhere else"});
    const std::string ports = "ports: [{name: a}, {name: b}, {name: c, tap: true, chain: [fw]}]\nplugins: {fw: }\n";
    CHECK(problems_of(ports + "forwarding: {mode: wire, wires: [[a, b]]}\n").empty());
    CHECK(problems_of(ports + "forwarding: {mode: wire, wires: [[a, b], [c, c]]}\n").at(0) ==
          "evnf.yaml:3:43: forwarding.wires[1][0]: 'c' is a tap: it gets copies only");
}

TEST_CASE("settings: a wire has two ends, and every port has one wire")
{
    const std::string ports = "ports: [{name: a}, {name: b}, {name: c}]\n";
    CHECK(problems_of(ports + "forwarding: {mode: wire}\n") ==
          Lines{"evnf.yaml:2:13: forwarding: 'wires' is missing: mode wire needs pairs of ports"});
    CHECK(problems_of(ports + "forwarding: {mode: wire, wires: [[a, b]]}\n") ==
          Lines{"evnf.yaml:2:33: forwarding.wires: port 'c' has no wire"});
    CHECK(problems_of(ports + "forwarding: {mode: wire, wires: [[a, b], [c, a]]}\n") ==
          Lines{"evnf.yaml:2:46: forwarding.wires[1][1]: 'a' is there twice"});
    CHECK(problems_of(ports + "forwarding: {wires: [[a, b]]}\n") ==
          Lines{"evnf.yaml:2:21: forwarding.wires: is for mode wire only"});
}

TEST_CASE("settings: modules are bare names, so that plugins come from one directory")
{
    CHECK(problems_of("ports: [{name: eth0}]\nplugins: {fw: {module: ../../tmp/fw}}\n") ==
          Lines{"evnf.yaml:2:24: plugins.fw.module: must be the bare name of a module such as fw"});
}

TEST_CASE("settings: names of eVNF's own are no plugins")
{
    CHECK(problems_of("ports: [{name: eth0}]\nplugins: {forwarder: {}}\n") ==
          Lines{"evnf.yaml:2:22: plugins.forwarder: is a name of eVNF's own; choose another and say 'module:'"});
}

TEST_CASE("settings: lo is no port, and neither is what is no name of an interface")
{
    CHECK(problems_of("ports: [{name: lo}, {name: a/b}]\n") ==
          Lines{"evnf.yaml:1:16: ports[0].name: the loopback interface cannot be a port",
                "evnf.yaml:1:28: ports[1].name: 'a/b' is no name of an interface"});
}

TEST_CASE("settings: orphan is every plugin's, keep unless said otherwise, and not the plugin's to read")
{
    Problems problems{"evnf.yaml"};
    const auto settings = read_settings("ports: [{name: eth0}]\nplugins: {a: {orphan: drop, x: 1}, b: {orphan: keep}, c: }\n", problems);
    CHECK(problems.errors().empty());
    REQUIRE(settings.plugins.size() == 3);
    CHECK(settings.plugins[0].orphan == evnf::Orphan::drop);
    CHECK(settings.plugins[1].orphan == evnf::Orphan::keep);
    CHECK(settings.plugins[2].orphan == evnf::Orphan::keep);
    CHECK_FALSE(settings.plugins[0].config.yaml()["orphan"].IsDefined());
    CHECK(problems_of("ports: [{name: eth0}]\nplugins: {fw: {orphan: pass}}\n") ==
          Lines{"evnf.yaml:2:24: plugins.fw.orphan: must be one of keep, drop, not 'pass'"});
}
