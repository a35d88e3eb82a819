// SPDX-License-Identifier: MIT
/// What the load balancer's settings may say, and what it answers to what they may not.
#include "../../plugins/lb/settings.hpp"

#include <netinet/in.h>

#include "catch.hpp"

using namespace std::chrono_literals;
using evnf::lb::BackendState;
using evnf::lb::Health;
using evnf::lb::Mode;
using evnf::lb::Settings;
using evnf::lb::WhenAllDown;

namespace {

using Lines = std::vector<std::string>;

struct Outcome {
    Settings settings;
    Lines errors, warnings;
};

Outcome read(const std::string& yaml)
{
    evnf::Problems problems{"f"};
    const auto root = YAML::Load(yaml);
    Outcome outcome;
    outcome.settings = evnf::lb::read_settings(evnf::Node{root, "", root.Mark(), problems});
    outcome.errors = problems.errors();
    outcome.warnings = problems.warnings();
    return outcome;
}

/// Problems of a configuration whose one service has these keys beside a backend.
Lines errors_of_service(const std::string& keys)
{
    return read("services: [{name: web, vip: 10.2.0.2, port: 80, proto: tcp, " + keys +
                ", backends: [{name: s1, address: 10.3.1.2}]}]")
        .errors;
}

/// Problems of a configuration whose one service has these backends.
Lines errors_of_backends(const std::string& backends)
{
    return read("services: [{name: web, vip: 10.2.0.2, port: 80, proto: tcp, backends: [" + backends + "]}]")
        .errors;
}

bool one_error_ends_with(const Lines& errors, const std::string& text)
{
    INFO(text);
    CAPTURE(errors);
    return errors.size() == 1 && errors.front().ends_with(text);
}

} // namespace

TEST_CASE("lb settings: all that the contract offers of this version is read")
{
    const auto [settings, errors, warnings] = read(R"(
services:
  - name: web
    vip: 10.2.0.2
    port: 80
    proto: tcp
    mode: dnat
    affinity: source
    slots: 5000
    backends:
      - {name: s1, address: 10.3.1.2, port: 8080, weight: 30}
      - {name: s2, address: 10.3.2.2, state: drain}
      - {name: s3, address: 10.3.3.2, weight: 0, state: down}
    health: {type: none}
    feedback: {source: none}
  - {name: dns, vip: "2001:db8::53", port: 53, proto: udp, backends: {name: d, address: "2001:db8::1"}}
timeouts: {syn: 5s, established: 1h, fin: 10s, udp: 20s}
max_connections: 5000
)");
    CHECK(errors == Lines{});
    CHECK(warnings == Lines{});
    REQUIRE(settings.services.size() == 2);
    const auto& web = settings.services[0];
    CHECK(web.vip.text() == "10.2.0.2");
    CHECK(web.port == 80);
    CHECK(web.protocol == IPPROTO_TCP);
    CHECK(web.by_source);
    CHECK(web.slots == 5000);
    REQUIRE(web.backends.size() == 3);
    CHECK(web.backends[0].port == 8080);
    CHECK(web.backends[0].effective_weight() == 30);
    CHECK(web.backends[1].port == 80);
    CHECK(web.backends[1].state == BackendState::drain);
    CHECK(web.backends[1].weight == 100);
    CHECK(web.backends[1].effective_weight() == 0);
    CHECK(web.backends[2].state == BackendState::down);
    CHECK(settings.services[1].protocol == IPPROTO_UDP);
    CHECK_FALSE(settings.services[1].by_source);
    CHECK(settings.services[1].slots == 4096);
    CHECK(settings.timeouts.syn == 5s);
    CHECK(settings.timeouts.established == 1h);
    CHECK(settings.timeouts.fin == 10s);
    CHECK(settings.timeouts.udp == 20s);
    CHECK(settings.max_connections == 5000);
}

TEST_CASE("lb settings: a service needs a name, a vip, a port, a protocol and a backend")
{
    CHECK(read("services: [{}]").errors ==
          Lines{"f:1:12: services[0]: 'backends' is missing", "f:1:12: services[0]: 'name' is missing",
                "f:1:12: services[0]: 'port' is missing", "f:1:12: services[0]: 'proto' is missing",
                "f:1:12: services[0]: 'vip' is missing"});
    CHECK(
        one_error_ends_with(errors_of_backends(""), "services[0].backends: must name at least one backend"));
    CHECK(one_error_ends_with(read("timeouts: {syn: 5s}").errors, "'services' is missing"));
}

TEST_CASE("lb settings: names are unique, backends' within their service")
{
    const auto outcome = read(R"(services:
  - {name: web, vip: 10.2.0.2, port: 80, proto: tcp, backends: [{name: a, address: 10.3.0.1}]}
  - {name: web, vip: 10.2.0.3, port: 80, proto: tcp, backends: [{name: a, address: 10.3.0.1}]}
)");
    CHECK(outcome.errors == Lines{"f:3:5: services[1]: another service is named 'web'"});
    CHECK(
        one_error_ends_with(errors_of_backends("{name: a, address: 10.3.0.1}, {name: a, address: 10.3.0.2}"),
                            "services[0].backends[1]: another backend is named 'a'"));
}

TEST_CASE("lb settings: a vip, port and protocol belong to one service; the protocol tells services apart")
{
    const std::string start =
        "services:\n  - {name: a, vip: 10.2.0.2, port: 53, proto: udp, backends: "
        "[{name: s, address: 10.3.0.1}]}\n  - {name: b, vip: 10.2.0.2, port: 53, proto: ";
    const std::string end = ", backends: [{name: s, address: 10.3.0.1}]}";
    CHECK(read(start + "tcp" + end).errors == Lines{});
    CHECK(read(start + "udp" + end).errors ==
          Lines{"f:3:5: services[1]: has the vip, port and proto of service 'a'"});
}

TEST_CASE("lb settings: a service's backends differ in address or port")
{
    CHECK(errors_of_backends("{name: a, address: 10.3.0.1}, {name: b, address: 10.3.0.1, port: 81}") ==
          Lines{});
    CHECK(one_error_ends_with(
        errors_of_backends("{name: a, address: 10.3.0.1}, {name: b, address: 10.3.0.1, port: 80}"),
        "services[0].backends[1]: another backend of 'web' has this address and port"));
}

TEST_CASE("lb settings: vip and backends are of one IP version")
{
    CHECK(one_error_ends_with(errors_of_backends("{name: a, address: \"2001:db8::1\"}"),
                              "must be an IPv4 address as the service's vip is"));
}

TEST_CASE("lb settings: values out of range are refused where they stand")
{
    CHECK(
        read("services: [{name: web, vip: 10.2.0.2, port: 80, proto: tcp,\n"
             " backends: [{name: a, address: 10.3.0.1, weight: 10001}]}]")
            .errors ==
        Lines{"f:2:50: services[0].backends[0].weight: must be a whole number from 0 to 10000, not '10001'"});
    CHECK(one_error_ends_with(errors_of_service("slots: 4095"), "from 4096 to 65536, not '4095'"));
    CHECK(one_error_ends_with(errors_of_service("slots: 65537"), "from 4096 to 65536, not '65537'"));
    CHECK(errors_of_service("slots: 65536") == Lines{});
    CHECK(one_error_ends_with(errors_of_backends("{name: a, address: 10.3.0.1, port: 0}"), "not '0'"));
    CHECK(one_error_ends_with(errors_of_backends("{name: a, address: 10.3.0.1, state: gone}"),
                              "must be one of active, drain, down, not 'gone'"));
    CHECK(one_error_ends_with(read("{services: [], max_connections: 0}").errors,
                              "from 1 to 10000000, not '0'"));
    CHECK(one_error_ends_with(
        read("{services: [], timeouts: {syn: 999ms}}").errors,
        "timeouts.syn: must be a time from 1000ms to 604800s such as 500ms, 30s, 5m or 2h, "
        "not '999ms'"));
}

TEST_CASE("lb settings: names that would not fit where they are kept are refused")
{
    CHECK(one_error_ends_with(errors_of_backends("{name: a/b, address: 10.3.0.1}"), "must not contain '/'"));
    CHECK(errors_of_backends("{name: " + std::string(59, 'n') + ", address: 10.3.0.1}") == Lines{});
    CHECK(one_error_ends_with(errors_of_backends("{name: " + std::string(60, 'n') + ", address: 10.3.0.1}"),
                              "must not be longer than 59 characters"));
}

TEST_CASE("lb settings: fullnat has a pool of its family, each address once and nobody else's")
{
    const auto pool = [](const std::string& addresses) {
        return read("{nat_pool: " + addresses + ", services: [{name: web, vip: 10.2.0.2, port: 80, proto: tcp, " +
                    "mode: fullnat, backends: [{name: s1, address: 10.3.1.2}]}]}");
    };
    const auto good = pool("[\"2001:db8:9::1\", 10.9.0.4/30, 10.9.0.1]");
    CHECK(good.errors == Lines{});
    CHECK(good.settings.services.at(0).mode == evnf::lb::Mode::fullnat);
    std::vector<std::string> texts;
    for (const auto& address : good.settings.nat_pool) texts.push_back(address.text());
    CHECK(texts == std::vector<std::string>{"10.9.0.1", "10.9.0.4", "10.9.0.5", "10.9.0.6", "10.9.0.7", "2001:db8:9::1"});
    CHECK(pool("10.9.0.0/22").settings.nat_pool.size() == 1024);

    const std::string none = "services: service 'web' has mode fullnat: 'nat_pool' must have IPv4 addresses for it";
    CHECK(one_error_ends_with(errors_of_service("mode: fullnat"), none));
    CHECK(one_error_ends_with(pool("[\"2001:db8:9::1\"]").errors, none));
    CHECK(one_error_ends_with(pool("[10.9.0.1, 10.3.1.2]").errors, "10.3.1.2 is a VIP's or a backend's address"));
    CHECK(one_error_ends_with(pool("[10.9.0.1, 10.2.0.0/30]").errors, "10.2.0.2 is a VIP's or a backend's address"));
    CHECK(one_error_ends_with(pool("[10.9.0.1, 10.9.0.0/31]").errors, "10.9.0.1 is in the pool twice"));
    CHECK(one_error_ends_with(pool("[10.9.0.1, 10.10.0.0/21]").errors, "more than 1024 addresses"));
    CHECK(one_error_ends_with(pool("[10.9.0.1, \"::/0\"]").errors, "more than 1024 addresses"));
    CHECK(one_error_ends_with(pool("[10.9.0.1, 10.10.0.0/22]").errors, "nat_pool: more than 1024 addresses"));
    CHECK(one_error_ends_with(pool("[10.9.0.1, 10.10.0.1/31]").errors, "the network is 10.10.0.0/31"));
}

TEST_CASE("lb settings: a service of fullnat adopts nothing")
{
    const auto adopting = [](const std::string& adopt) {
        return read("{nat_pool: [10.9.0.1], services: [{name: web, vip: 10.2.0.2, port: 80, proto: tcp, mode: fullnat, "
                    "adopt: " + adopt + ", backends: [{name: s1, address: 10.3.1.2}]}]}");
    };
    CHECK(one_error_ends_with(adopting("true").errors,
                              "services[0].adopt: does not go with mode fullnat: the server's packets do not tell the client"));
    CHECK(adopting("false").errors == Lines{});
}

TEST_CASE("lb settings: when_down is move unless given; reset is for TCP")
{
    const auto reset = [](const std::string& keys) {
        return read("{services: [{name: web, vip: 10.2.0.2, port: 80, backends: [{name: s1, address: 10.3.1.2}], " + keys + "}]}");
    };
    CHECK_FALSE(reset("proto: tcp").settings.services.at(0).reset_when_down);
    CHECK_FALSE(reset("proto: udp, when_down: move").settings.services.at(0).reset_when_down);
    CHECK(reset("proto: tcp, when_down: reset").settings.services.at(0).reset_when_down);
    CHECK(one_error_ends_with(reset("proto: udp, when_down: reset").errors,
                              "services[0].when_down: reset is for TCP: nothing tells a client of UDP that its server is gone"));
    CHECK(one_error_ends_with(reset("proto: tcp, when_down: panic").errors, "must be one of move, reset, not 'panic'"));
}

TEST_CASE("lb settings: new_flow_limit is a rate, and there is none unless given")
{
    CHECK(read("{services: [], new_flow_limit: 125000/s}").settings.new_flow_limit == 125000);
    CHECK(read("{services: []}").settings.new_flow_limit == 0);
    CHECK(read("{services: [], new_flow_limit: many}").errors.size() == 1);
    CHECK(read("{services: [], new_flow_limit: 0/s}").errors.size() == 1);
}

TEST_CASE("lb settings: services that adopt share no server's port, others may")
{
    const auto both = [](const std::string& adopt) {
        return "services:\n"
               "  - {name: a, vip: 10.2.0.2, port: 80, proto: tcp, adopt: true, backends: [{name: s, address: 10.3.1.2, port: 8080}]}\n"
               "  - {name: b, vip: 10.2.0.3, port: 80, proto: tcp, adopt: " + adopt + ", backends: [{name: s, address: 10.3.1.2, port: 8080}]}\n";
    };
    CHECK(read(both("false")).errors == Lines{});
    CHECK(one_error_ends_with(read(both("true")).errors, "services 'a' and 'b' both adopt and share the server 10.3.1.2 port 8080: "
                                                         "its packets could be either's"));
}

TEST_CASE("lb settings: health checks are read, with what holds where nothing is said")
{
    const auto service = [](const std::string& keys) {
        const auto [settings, errors, warnings] =
            read("services: [{name: web, vip: 10.2.0.2, port: 80, proto: tcp, backends: [{name: s1, address: 10.3.1.2}], " + keys + "}]");
        CHECK(errors == Lines{});
        return settings.services.at(0);
    };
    const auto plain = service("health: {type: tcp}");
    CHECK(plain.health.type == Health::Type::tcp);
    CHECK(plain.health.interval == 1s);
    CHECK(plain.health.timeout == 500ms);
    CHECK(plain.health.rise == 2);
    CHECK(plain.health.fall == 3);
    CHECK(plain.when_all_down == WhenAllDown::keep);
    const auto http = service("when_all_down: drop, when_down: move, health: {type: http, interval: 200ms, rise: 1, fall: 5, "
                              "path: /up, host: a.example, expect: [200, 300-304], body: fine}");
    CHECK(http.when_all_down == WhenAllDown::drop);
    CHECK(http.health.timeout == 200ms);
    CHECK(http.health.rise == 1);
    CHECK(http.health.fall == 5);
    CHECK(http.health.path == "/up");
    CHECK(http.health.host == "a.example");
    CHECK(http.health.expect == std::vector<Health::Statuses>{{200, 200}, {300, 304}});
    CHECK(http.health.body == "fine");
    CHECK(service("health: {type: http}").health.expect == std::vector<Health::Statuses>{{200, 399}});
}

TEST_CASE("lb settings: health checks that cannot be are refused where they stand")
{
    CHECK(one_error_ends_with(errors_of_service("health: {interval: 1s}"), "services[0].health: 'type' is missing"));
    CHECK(one_error_ends_with(errors_of_service("health: {type: question}"), "must be one of tcp, http, none, not 'question'"));
    CHECK(one_error_ends_with(errors_of_service("health: {type: tcp, timeout: 2s}"),
                              "health.timeout: must not be longer than the interval"));
    CHECK(one_error_ends_with(errors_of_service("health: {type: tcp, fall: 0}"), "from 1 to 100, not '0'"));
    CHECK(one_error_ends_with(errors_of_service("health: {type: tcp, path: /up}"),
                              "health.path: is for health checks of type http"));
    CHECK(one_error_ends_with(errors_of_service("health: {type: http, path: up}"), "health.path: must begin with '/'"));
    CHECK(one_error_ends_with(errors_of_service("health: {type: http, path: \"/a b\"}"),
                              "must have no blanks, control characters or letters beyond ASCII"));
    CHECK(one_error_ends_with(errors_of_service("health: {type: http, expect: 200-}"),
                              "must be an HTTP status from 100 to 599 or a range such as 200-399, not '200-'"));
    CHECK(one_error_ends_with(errors_of_service("health: {type: http, expect: []}"), "must name at least one status"));
    CHECK(one_error_ends_with(errors_of_service("when_all_down: panic"), "must be one of keep, drop, not 'panic'"));
}

TEST_CASE("lb settings: a local service leaves balancing to its proxy, and its vip is no other service's")
{
    const std::string local = "{name: own, vip: 10.2.0.9, port: 80, proto: tcp, mode: local";
    const auto [settings, errors, warnings] = read("services: [" + local + "}]");
    CHECK(errors == Lines{});
    CHECK(settings.services.at(0).mode == Mode::local);
    CHECK(settings.services.at(0).backends.empty());
    CHECK(one_error_ends_with(read("services: [" + local + ", backends: [{name: a, address: 10.3.0.1}]}]").errors,
                              "services[0].backends: is the proxy's affair where the mode is local"));
    CHECK(read("services: [" + local + "}, {name: two, vip: 10.2.0.9, port: 443, proto: tcp, mode: local}]").errors == Lines{});
    CHECK(one_error_ends_with(
        read("services: [" + local + "}, {name: web, vip: 10.2.0.9, port: 443, proto: tcp, backends: [{name: a, address: 10.3.0.1}]}]").errors,
        "has the vip of service 'own', and only one of them has mode local: that vip is this machine's address, any other's is not"));
}

TEST_CASE("lb settings: a seed is text or a number, and not empty")
{
    CHECK(read("{services: [], seed: 42}").settings.seed == "42");
    CHECK(read("{services: [], seed: of the two}").settings.seed == "of the two");
    CHECK(one_error_ends_with(read("{services: [], seed: \"\"}").errors, "seed: must not be empty"));
}

TEST_CASE("lb settings: unknown keys are refused")
{
    CHECK(one_error_ends_with(errors_of_service("vipp: 10.2.0.3"),
                              "services[0].vipp: unknown key (did you mean 'vip'?)"));
    CHECK(one_error_ends_with(errors_of_backends("{name: a, address: 10.3.0.1, wieght: 3}"),
                              "services[0].backends[0].wieght: unknown key (did you mean 'weight'?)"));
}

TEST_CASE("lb settings: a weight too small for any slot is warned of")
{
    const auto outcome = read(
        "services: [{name: web, vip: 10.2.0.2, port: 80, proto: tcp, backends: ["
        "{name: big, address: 10.3.0.1, weight: 10000}, "
        "{name: small, address: 10.3.0.2, weight: 1}]}]");
    CHECK(outcome.errors == Lines{});
    REQUIRE(outcome.warnings.size() == 1);
    CHECK(outcome.warnings.front().find("backend 'small' gets no traffic") != std::string::npos);
}
