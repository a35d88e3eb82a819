// SPDX-License-Identifier: MIT
#include "client.hpp"

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/json.hpp>

#include <fmt/format.h>

namespace evnf::ctl {
namespace {

namespace json = boost::json;
using boost::asio::local::stream_protocol;

[[noreturn]] void no_daemon(const std::string& socket, const boost::system::error_code& error)
{
    const char* advice = error == boost::system::errc::permission_denied
                             ? "are you root?"
                             : "is evnfd running? systemctl status evnfd";
    throw NoDaemon{fmt::format("no answer from {}: {}; {}", socket, error.message(), advice)};
}

std::string exchange(const std::string& socket, const std::string& line, std::chrono::milliseconds timeout)
{
    stream_protocol::iostream stream;
    stream.expires_after(timeout);
    std::string answer;
    try {
        stream.connect(stream_protocol::endpoint{socket});
    } catch (const boost::system::system_error& error) { // a path too long for a socket
        no_daemon(socket, error.code());
    }
    stream << line << '\n' << std::flush;
    std::getline(stream, answer);
    // A line without its end was cut short.
    if (!stream || stream.eof()) no_daemon(socket, stream.error());
    return answer;
}

} // namespace

json::value request(const std::string& socket, const std::string& command,
                    const std::vector<std::string>& args, std::chrono::milliseconds timeout)
{
    const json::object question{{"command", command}, {"args", json::value_from(args)}};
    boost::system::error_code error;
    json::value answer = json::parse(exchange(socket, json::serialize(question), timeout), error);
    json::object* object = error ? nullptr : answer.if_object();
    const json::value* ok = object ? object->if_contains("ok") : nullptr;
    if (!ok || !ok->is_bool()) throw NoDaemon{fmt::format("{} does not speak evnfd's protocol", socket)};
    if (ok->get_bool()) return (*object)["result"];
    const json::value& reason = (*object)["error"];
    throw Refused{reason.is_string() ? json::value_to<std::string>(reason) : "refused without a reason"};
}

} // namespace evnf::ctl
