// SPDX-License-Identifier: MIT
/// What a service's feedback may say, and what it answers to what it may not.
#include "../../plugins/lb/feedback_settings.hpp"

#include "../../plugins/lb/settings.hpp"
#include "catch.hpp"

using namespace std::chrono_literals;
using evnf::lb::FeedbackAlgorithm;
using evnf::lb::Oid;
using evnf::lb::SnmpHash;
using evnf::lb::SnmpUser;

namespace {

using Lines = std::vector<std::string>;

struct Outcome {
    evnf::lb::Settings settings;
    Lines errors;
};

/// A service with this feedback, and a backend that has `of_backend` beside its address.
Outcome read(const std::string& feedback, const std::string& of_backend = "")
{
    evnf::Problems problems{"f"};
    const auto root = YAML::Load("services: [{name: web, vip: 10.2.0.2, port: 80, proto: tcp,\n feedback: {" + feedback +
                                 "},\n backends: [{name: s1, address: 10.3.1.2" + of_backend + "}]}]");
    Outcome outcome;
    outcome.settings = evnf::lb::read_settings(evnf::Node{root, "", root.Mark(), problems});
    outcome.errors = problems.errors();
    return outcome;
}

bool one_error(const std::string& feedback, const std::string& text, const std::string& of_backend = "")
{
    const auto errors = read(feedback, of_backend).errors;
    CAPTURE(feedback, of_backend, errors);
    return errors.size() == 1 && errors.front() == text;
}

const std::string kSnmp = "source: snmp, community: public, ";

} // namespace

TEST_CASE("lb feedback settings: what the contract offers is read; what is not said has its default")
{
    const auto [settings, errors] = read("source: snmp, oid: .1.3.6.1.4.1.2021.10.1.3.1, community: secret, port: 1161, interval: 2s, algorithm: dynamic-feedback");
    CHECK(errors == Lines{});
    REQUIRE(settings.services[0].feedback);
    const auto& feedback = *settings.services[0].feedback;
    CHECK(feedback.algorithm == FeedbackAlgorithm::dynamic_feedback);
    CHECK(feedback.interval == 2s);
    CHECK(feedback.timeout == 1s);
    const auto& source = settings.services[0].backends[0].load_source;
    CHECK(source.oid == Oid{1, 3, 6, 1, 4, 1, 2021, 10, 1, 3, 1});
    CHECK(source.port == 1161);
    CHECK(std::get<std::string>(source.identity) == "secret");
    CHECK_FALSE(source.full);
    CHECK_FALSE(source.address);

    const auto plain = read("source: snmp, community: public, interval: 200ms").settings.services[0];
    CHECK(plain.feedback->algorithm == FeedbackAlgorithm::balanced);
    CHECK(plain.feedback->timeout == 200ms);
    CHECK(plain.feedback->source.oid == source.oid);
    CHECK_FALSE(read("source: none").settings.services[0].feedback);
}

TEST_CASE("lb feedback settings: a backend has its own agent, variable and scale where it says so")
{
    const auto [settings, errors] = read(kSnmp + "cpus: 2", ", feedback: {address: 192.0.2.1, port: 1161, oid: 1.3.6.1.4.1.2021.11.11.0, full: 100}");
    CHECK(errors == Lines{});
    CHECK(settings.services[0].feedback->source.full == 2);
    const auto& source = settings.services[0].backends[0].load_source;
    CHECK(source.address->text() == "192.0.2.1");
    CHECK(source.port == 1161);
    CHECK(source.full == 100);
    CHECK(std::get<std::string>(source.identity) == "public");
}

TEST_CASE("lb feedback settings: a user of SNMPv3")
{
    const auto [settings, errors] = read("source: snmp, user: {name: evnf, auth: sha-512, auth_password: 12345678, privacy: aes, privacy_password: abcdefgh}");
    CHECK(errors == Lines{});
    CHECK(std::get<SnmpUser>(settings.services[0].feedback->source.identity) == SnmpUser{"evnf", SnmpHash::sha512, "12345678", "abcdefgh"});
    CHECK(one_error("source: snmp, user: {name: evnf, auth_password: 1234567}",
                    "f:2:61: services[0].feedback.user.auth_password: must have 8 characters at least"));
    CHECK(one_error("source: snmp, user: {name: evnf, auth_password: 12345678, privacy: aes}",
                    "f:2:80: services[0].feedback.user.privacy: needs 'privacy_password'"));
    CHECK(one_error("source: snmp, user: {name: evnf, auth_password: 12345678, privacy_password: 12345678}",
                    "f:2:89: services[0].feedback.user.privacy_password: goes with 'privacy: aes'"));
    CHECK(one_error(kSnmp + "user: {name: evnf, auth_password: 12345678}",
                    "f:2:52: services[0].feedback.user: is there beside 'community': one of them asks"));
}

TEST_CASE("lb feedback settings: what is wrong is refused where it stands")
{
    CHECK(one_error("source: snmp", "f:2:12: services[0].feedback: 'community' or 'user' is missing: as whom to ask the agents"));
    CHECK(one_error("community: public", "f:2:12: services[0].feedback: 'source' is missing"));
    CHECK(one_error(kSnmp + "oid: sysUpTime", "f:2:51: services[0].feedback.oid: 'sysUpTime' is no numeric OID such as .1.3.6.1.4.1.2021.10.1.3.1"));
    CHECK(one_error(kSnmp + "algorithm: balance",
                    "f:2:57: services[0].feedback.algorithm: must be one of balanced, dynamic-feedback, cube-root, not 'balance' (did you mean 'balanced'?)"));
    CHECK(one_error(kSnmp + "interval: 99ms",
                    "f:2:56: services[0].feedback.interval: must be a time from 100ms to 3600s such as 500ms, 30s, 5m or 2h, not '99ms'"));
    CHECK(one_error(kSnmp + "interval: 1s, timeout: 2s", "f:2:69: services[0].feedback.timeout: must not be longer than 'interval'"));
    CHECK(one_error(kSnmp + "full: 100", "f:2:52: services[0].feedback.full: goes with an oid that is no load average; for those there is 'cpus'"));
    CHECK(one_error(kSnmp + "oid: 1.3.6.1, cpus: 4", "f:2:66: services[0].feedback.cpus: goes with an oid that is a load average"));
    CHECK(one_error(kSnmp + "ports: 161", "f:2:46: services[0].feedback.ports: unknown key (did you mean 'port'?)"));
    CHECK(one_error("source: none", "f:3:53: services[0].backends[0].feedback: is there, but the service has no feedback", ", feedback: {port: 1161}"));
}

TEST_CASE("lb feedback settings: OIDs are numbers between dots")
{
    using evnf::lb::parse_oid;
    CHECK(parse_oid(".1.3.6.1") == Oid{1, 3, 6, 1});
    CHECK(parse_oid("2.999.4294967295") == Oid{2, 999, 4294967295});
    for (const char* wrong : {"", ".", "1", "1.", "1..3", "1.3.x", "1.-3", "3.1", "1.40", "1.3.4294967296", "1.3 .6"}) {
        INFO(wrong);
        CHECK_FALSE(parse_oid(wrong));
    }
}
