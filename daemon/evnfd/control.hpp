// SPDX-License-Identifier: MIT
/// The control socket: a JSON object a line each way.
///
///     {"command":"fw rules","args":[]}   ->   {"ok":true,"result":…}  or  {"ok":false,"error":"…"}
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/json.hpp>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace evnf {

/// Gives the result; what it throws is the error's text.
using ControlHandler = std::function<boost::json::value(const std::string& command, const std::vector<std::string>& args)>;

class ControlServer {
public:
    /// Listens with mode 0660, in place of a socket that nobody listens on any more. Throws when somebody does.
    ControlServer(boost::asio::io_context& io, const std::filesystem::path& path, ControlHandler handler);
    ~ControlServer();

private:
    class Session;
    void accept();

    std::filesystem::path path_;
    ControlHandler handler_;
    boost::asio::local::stream_protocol::acceptor acceptor_;
};

} // namespace evnf
