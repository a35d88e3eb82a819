// SPDX-License-Identifier: MIT
/// What dpi's settings may say, and what it answers to what they may not.
#include "../../plugins/dpi/settings.hpp"

#include <unistd.h>

#include <fstream>

#include "catch.hpp"

using namespace std::chrono_literals;
using evnf::dpi::protocol_rule_problem;
using evnf::dpi::Settings;

namespace {

struct Outcome {
    Settings settings;
    std::vector<std::string> errors;
};

Outcome read(const std::string& yaml)
{
    evnf::Problems problems{"f"};
    const auto root = YAML::Load(yaml);
    Outcome outcome;
    outcome.settings = evnf::dpi::read_settings(evnf::Node{root, "", root.Mark(), problems});
    outcome.errors = problems.errors();
    return outcome;
}

/// A file that is there as long as this object.
class File {
public:
    explicit File(const std::string& text)
    {
        const int fd = mkstemp(path_.data());
        REQUIRE(fd >= 0);
        REQUIRE(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
        close(fd);
    }
    ~File() { unlink(path_.c_str()); }
    const std::string& path() const { return path_; }

private:
    std::string path_ = "/tmp/evnf-protocols-XXXXXX";
};

} // namespace

TEST_CASE("dpi settings: nothing is needed")
{
    const auto [settings, errors] = read("{}");
    CHECK(errors.empty());
    CHECK(settings.budget_tcp == 16);
    CHECK(settings.budget_udp == 8);
    CHECK(settings.idle_tcp == 300s);
    CHECK(settings.idle_udp == 60s);
    CHECK(settings.offload.mode == evnf::dpi::Offload::Mode::all);
    CHECK(settings.policies.empty());
}

TEST_CASE("dpi settings: all that this version offers is read")
{
    const File file{"# ours\n\n  tcp:81,udp:5061-5062@SIP  \nhost:\"intranet.example\"@Intranet"};
    const auto [settings, errors] = read(R"(
budget: {tcp: 32, udp: 4}
workers: 8
max_flows: 4096
protocols_file: )" + file.path() + R"(
idle_timeout: {tcp: 2m, udp: 5s}
offload: {mode: none}
)");
    CHECK(errors.empty());
    CHECK(settings.budget_tcp == 32);
    CHECK(settings.budget_udp == 4);
    CHECK(settings.workers == 8);
    CHECK(settings.max_flows == 4096);
    CHECK(settings.idle_tcp == 120s);
    CHECK(settings.idle_udp == 5s);
    CHECK(settings.offload.mode == evnf::dpi::Offload::Mode::none);
    CHECK(settings.protocols == "tcp:81,udp:5061-5062@SIP\nhost:\"intranet.example\"@Intranet\n");
}

TEST_CASE("dpi settings: elephants and policies are read, by nDPI's names in any case of letters and by those of the protocols file")
{
    const File file{"udp:9001@Elephant"};
    const auto [settings, errors] = read("protocols_file: " + file.path() + R"(
never_inspect: [192.0.2.0/24, "2001:db8::1"]
offload: {mode: elephants, categories: [Media, VoIP, Streaming, Download], apps: [youtube, Elephant], min_bytes: 1MB, min_packets: 1000, min_rate: 125kB, reinspect: 1GB}
policies:
  - {app: BitTorrent, action: drop}
  - {category: VoIP, action: mark, dscp: ef}
  - {risk: ["Self-signed Certificate"], app: [TLS, QUIC], action: count}
)");
    CHECK(errors.empty());
    CHECK(settings.never_inspect.size() == 2);
    CHECK(settings.offload.mode == evnf::dpi::Offload::Mode::elephants);
    CHECK(settings.offload.apps == std::vector<std::string>{"youtube", "Elephant"});
    CHECK(settings.offload.min_bytes == 1'000'000);
    CHECK(settings.offload.min_packets == 1000);
    CHECK(settings.offload.min_rate == 125'000);
    CHECK(settings.offload.reinspect == 1'000'000'000);
    REQUIRE(settings.policies.size() == 3);
    CHECK(settings.policies[0].action == DPI_DROP);
    CHECK(settings.policies[0].text == "app BitTorrent: drop");
    CHECK(settings.policies[1].dscp == 46);
    CHECK(settings.policies[1].text == "category VoIP: mark ef");
    CHECK(settings.policies[2].risks != 0);
    CHECK(settings.policies[2].text == "app TLS or app QUIC or risk Self-signed Certificate: count");
}

TEST_CASE("dpi settings: mistakes in elephants and policies are reported at their places")
{
    const auto errors = read(R"(offload: {apps: [YouTub], min_bytes: 1MB}
policies:
  - {app: Nothing, action: drop}
  - {action: drop}
  - {category: VoIP, action: mark}
  - {category: VoIP, action: drop, dscp: 3}
  - {risk: Boredom, action: burn}
never_inspect: 192.0.2.1/24
)").errors;
    REQUIRE(errors.size() == 9);
    CHECK(errors[0] == "f:1:10: offload: apps, categories and min_* say what an elephant is: they want mode: elephants");
    CHECK(errors[1] == "f:1:18: offload.apps[0]: nDPI knows no application 'YouTub'");
    CHECK(errors[2] == "f:3:11: policies[0].app: nDPI knows no application 'Nothing'");
    CHECK(errors[3] == "f:4:5: policies[1]: a policy asks for app, category or risk");
    CHECK(errors[4] == "f:5:30: policies[2].action: mark wants a dscp");
    CHECK(errors[5] == "f:6:42: policies[3].dscp: only action mark has a dscp");
    CHECK(errors[6].starts_with("f:7:12: policies[4].risk: nDPI knows no risk 'Boredom'; it knows: "));
    CHECK(errors[7].starts_with("f:7:29: policies[4].action: must be one of"));
    CHECK(errors[8].starts_with("f:8:16: never_inspect: "));
}

TEST_CASE("dpi settings: all mistakes are reported, each at its place")
{
    const auto errors = read("budget: {tcp: 0, udp: 256}\nidle_timeout: {udp: 10ms, icmp: 1s}\nofload: {}\n").errors;
    REQUIRE(errors.size() == 5);
    CHECK(errors[0].starts_with("f:1:15: budget.tcp: must be a whole number from 1 to 255"));
    CHECK(errors[1].starts_with("f:1:23: budget.udp: must be a whole number from 1 to 255"));
    CHECK(errors[2].starts_with("f:2:21: idle_timeout.udp: must be a time"));
    CHECK(errors[3].starts_with("f:2:27: idle_timeout.icmp: unknown key"));
    CHECK(errors[4].starts_with("f:3:1: ofload: unknown key (did you mean 'offload'?)"));
}

TEST_CASE("dpi settings: there is at least one worker, and there are no more than there can be rings")
{
    CHECK(read("workers: 9").errors == std::vector<std::string>{"f:1:10: workers: must be a whole number from 1 to 8, not '9'"});
    CHECK(read("workers: 0").errors.size() == 1);
}

TEST_CASE("dpi settings: a protocols file that is not there is a problem of the key")
{
    CHECK(read("protocols_file: /nowhere/protos.txt").errors
          == std::vector<std::string>{
              "f:1:17: protocols_file: cannot read '/nowhere/protos.txt': No such file or directory"});
}

TEST_CASE("dpi settings: a mistake in a protocols file names its line")
{
    const File file{"tcp:81@HTTP\ntcp:0@HTTP\nnonsense\n"};
    const auto errors = read("protocols_file: " + file.path()).errors;
    REQUIRE(errors.size() == 2);
    CHECK(errors[0] == "f:1:17: protocols_file: " + file.path() + ":2: '0' is no port or range of ports");
    CHECK(errors[1] == "f:1:17: protocols_file: " + file.path() + ":3: a rule is WHAT,...@PROTOCOL");
}

TEST_CASE("dpi settings: rules of nDPI's format are taken, and nothing else")
{
    for (const auto* good : {"tcp:81@HTTP", "udp:1-65535@X", "tcp:81,udp:82,tcp:90-91@My", "host:\"a.example\"@A",
                             "host:a.example@A", "ip:192.0.2.1@N", "ip:192.0.2.0/24@N", "ip:192.0.2.1:443@N"}) {
        INFO(good);
        CHECK(protocol_rule_problem(good).empty());
    }
    for (const auto* bad : {"", "tcp:81", "@HTTP", "tcp:81@", "tcp:@X", "tcp:0@X", "tcp:65536@X", "tcp:9-8@X",
                            "tcp:80-@X", "tcp:80x@X", "sctp:80@X", "81@X", "host:@X", "host:\"\"@X", "ip:@X",
                            "ip:300.1.1.1@X", "ip:2001:db8::1@X", "ip:192.0.2.1:0@X", "tcp:81,@X", ",@X"}) {
        INFO(bad);
        CHECK_FALSE(protocol_rule_problem(bad).empty());
    }
}

TEST_CASE("dpi settings: copy_limit is a rate")
{
    CHECK(read("{}").settings.copy_limit == 200'000);
    CHECK(read("copy_limit: 5000/s").settings.copy_limit == 5000);
    CHECK(read("copy_limit: 5000").errors ==
          std::vector<std::string>{"f:1:13: copy_limit: must be a rate from 1/s to 10000000/s, not '5000'"});
}
