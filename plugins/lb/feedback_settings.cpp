// SPDX-License-Identifier: MIT
#include "feedback_settings.hpp"

#include <fmt/format.h>

namespace evnf::lb {

namespace {

using namespace std::chrono_literals;

const Oid kLoadAverages{1, 3, 6, 1, 4, 1, 2021, 10, 1}; // laEntry; what columns 3 and 6 hold is the load
constexpr unsigned long kLoadText = 3, kLoadFloat = 6;
const Oid kOneMinute{1, 3, 6, 1, 4, 1, 2021, 10, 1, kLoadText, 1};

constexpr std::size_t kShortestPassword = 8; // RFC 3414
constexpr std::size_t kLongestName = 32;
constexpr std::int64_t kMostCpus = 4096;

/// Passwords are never part of a message.
std::string read_password(const Node& node)
{
    auto password = node.string();
    if (!password.empty() && password.size() < kShortestPassword)
        node.error(fmt::format("must have {} characters at least", kShortestPassword));
    return password;
}

SnmpUser read_user(const Node& node)
{
    Map map{node};
    SnmpUser user;
    const auto name = map.required("name");
    user.name = name.string();
    if (user.name.size() > kLongestName) name.error(fmt::format("must not be longer than {} characters", kLongestName));
    if (const auto hash = map.optional("auth"))
        user.hash = hash->one_of<SnmpHash>({{"sha", SnmpHash::sha1},
                                            {"sha-224", SnmpHash::sha224},
                                            {"sha-256", SnmpHash::sha256},
                                            {"sha-384", SnmpHash::sha384},
                                            {"sha-512", SnmpHash::sha512}});
    user.auth_password = read_password(map.required("auth_password"));
    const auto privacy = map.optional("privacy");
    if (privacy) privacy->one_of<bool>({{"aes", true}});
    if (const auto password = map.optional("privacy_password")) {
        user.privacy_password = read_password(*password);
        if (!privacy) password->error("goes with 'privacy: aes'");
    } else if (privacy) {
        privacy->error("needs 'privacy_password'");
    }
    map.done();
    return user;
}

void read_identity(Map& map, LoadSource& source)
{
    const auto community = map.optional("community"), user = map.optional("user");
    if (community) source.identity = community->string();
    if (user) source.identity = read_user(*user);
    if (community && user) user->error("is there beside 'community': one of them asks");
}

/// A whole number of CPUs for load averages, or the value at full load for other variables.
void read_scale(Map& map, LoadSource& source)
{
    const auto oid = map.optional("oid");
    if (oid) {
        const auto text = oid->string();
        const auto parsed = parse_oid(text);
        if (!parsed && !text.empty()) oid->error(fmt::format("'{}' is no numeric OID such as .1.3.6.1.4.1.2021.10.1.3.1", text));
        source.oid = parsed.value_or(kOneMinute);
        source.full = is_load_average(source.oid) ? std::nullopt : std::optional{1.0};
    }
    const bool by_cpus = is_load_average(source.oid);
    if (const auto cpus = map.optional("cpus")) {
        if (!by_cpus) cpus->error("goes with an oid that is a load average");
        source.full = static_cast<double>(cpus->integer(1, kMostCpus));
    }
    if (const auto full = map.optional("full")) {
        if (by_cpus) full->error("goes with an oid that is no load average; for those there is 'cpus'");
        source.full = static_cast<double>(full->integer(1, 1'000'000'000));
    }
}

void read_source(Map& map, LoadSource& source)
{
    if (const auto port = map.optional("port")) source.port = static_cast<std::uint16_t>(port->integer(1, 65535));
    read_identity(map, source);
    read_scale(map, source);
}

} // namespace

bool is_load_average(const Oid& oid)
{
    if (oid.size() != kLoadAverages.size() + 2 || !std::equal(kLoadAverages.begin(), kLoadAverages.end(), oid.begin())) return false;
    const auto column = oid[kLoadAverages.size()];
    return column == kLoadText || column == kLoadFloat;
}

std::optional<FeedbackSettings> read_feedback(const Node& node)
{
    Map map{node};
    FeedbackSettings feedback;
    feedback.source.oid = kOneMinute;
    const bool on = map.required("source").one_of<bool>({{"snmp", true}, {"none", false}});
    read_source(map, feedback.source);
    if (on && !map.optional("community") && !map.optional("user")) node.error("'community' or 'user' is missing: as whom to ask the agents");
    if (const auto algorithm = map.optional("algorithm"))
        feedback.algorithm = algorithm->one_of<FeedbackAlgorithm>({{"balanced", FeedbackAlgorithm::balanced},
                                                                   {"dynamic-feedback", FeedbackAlgorithm::dynamic_feedback},
                                                                   {"cube-root", FeedbackAlgorithm::cube_root}});
    if (const auto interval = map.optional("interval")) feedback.interval = interval->duration(100ms, 1h);
    feedback.timeout = std::min(feedback.timeout, feedback.interval);
    if (const auto timeout = map.optional("timeout")) {
        feedback.timeout = timeout->duration(10ms, 1min);
        if (feedback.timeout > feedback.interval) timeout->error("must not be longer than 'interval'");
    }
    map.done();
    return on ? std::optional{std::move(feedback)} : std::nullopt;
}

LoadSource read_load_source(const Node& node, const LoadSource& of_service)
{
    Map map{node};
    LoadSource source = of_service;
    if (const auto address = map.optional("address")) source.address = address->address();
    read_source(map, source);
    map.done();
    return source;
}

} // namespace evnf::lb
