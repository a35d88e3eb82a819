// SPDX-License-Identifier: MIT
#include "health_settings.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include <fmt/format.h>

namespace evnf::lb {

namespace {

using namespace std::chrono_literals;

constexpr unsigned kMostInARow = 100;

std::optional<unsigned> read_status(std::string_view text)
{
    unsigned status = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), status);
    if (error != std::errc{} || end != text.data() + text.size() || status < 100 || status > 599) return std::nullopt;
    return status;
}

std::vector<Health::Statuses> read_expect(const Node& list)
{
    std::vector<Health::Statuses> expect;
    for (const Node& node : list.list()) {
        const auto text = node.string();
        const auto dash = text.find('-');
        const auto first = read_status(std::string_view{text}.substr(0, dash));
        const auto last = dash == std::string::npos ? first : read_status(std::string_view{text}.substr(dash + 1));
        if (first && last && *first <= *last)
            expect.push_back({*first, *last});
        else
            node.error(fmt::format("must be an HTTP status from 100 to 599 or a range such as 200-399, not '{}'", text));
    }
    if (list.present() && list.list().empty()) list.error("must name at least one status");
    return expect;
}

/// Text that goes into the head of a request as it is.
std::string read_word(const Node& node)
{
    auto text = node.string();
    const auto is_refused = [](unsigned char c) { return c <= ' ' || c >= 0x7f; };
    if (std::any_of(text.begin(), text.end(), is_refused))
        node.error("must have no blanks, control characters or letters beyond ASCII");
    return text;
}

void read_http(Map& map, Health& health)
{
    if (const auto path = map.optional("path")) {
        health.path = read_word(*path);
        if (!health.path.starts_with('/')) path->error("must begin with '/'");
    }
    if (const auto host = map.optional("host")) health.host = read_word(*host);
    if (const auto expect = map.optional("expect")) health.expect = read_expect(*expect);
    if (const auto body = map.optional("body")) health.body = body->string();
}

void refuse_http(Map& map)
{
    for (const auto key : {"path", "host", "expect", "body"})
        if (const auto value = map.optional(key)) value->error("is for health checks of type http");
}

} // namespace

std::string text(const Health::Statuses& statuses)
{
    return statuses.first == statuses.last ? std::to_string(statuses.first)
                                           : fmt::format("{}-{}", statuses.first, statuses.last);
}

Health read_health(const Node& node)
{
    using Type = Health::Type;
    Map map{node};
    Health health;
    health.type = map.required("type").one_of<Type>({{"tcp", Type::tcp}, {"http", Type::http}, {"none", Type::none}});
    if (const auto interval = map.optional("interval")) health.interval = interval->duration(100ms, 1h);
    const auto timeout = map.optional("timeout");
    if (timeout) health.timeout = timeout->duration(10ms, 1min);
    if (timeout && health.timeout > health.interval) timeout->error("must not be longer than the interval");
    health.timeout = std::min(health.timeout, health.interval);
    if (const auto rise = map.optional("rise")) health.rise = static_cast<unsigned>(rise->integer(1, kMostInARow));
    if (const auto fall = map.optional("fall")) health.fall = static_cast<unsigned>(fall->integer(1, kMostInARow));
    if (health.type == Type::http)
        read_http(map, health);
    else
        refuse_http(map);
    map.done();
    return health;
}

} // namespace evnf::lb
