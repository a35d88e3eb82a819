// SPDX-License-Identifier: MIT
#include "control.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <stdexcept>

#include "errno_hint.hpp"

namespace evnf {

namespace asio = boost::asio;
namespace json = boost::json;
using local = asio::local::stream_protocol;

namespace {

constexpr std::size_t kLongestRequest = 64 * 1024;

json::object answer(const ControlHandler& handler, const std::string& line)
{
    try {
        const auto request = json::parse(line).as_object();
        const auto command = json::value_to<std::string>(request.at("command"));
        std::vector<std::string> args;
        if (const auto* given = request.if_contains("args")) args = json::value_to<std::vector<std::string>>(*given);
        return {{"ok", true}, {"result", handler(command, args)}};
    } catch (const std::exception& error) {
        return {{"ok", false}, {"error", error.what()}};
    }
}

/// A socket file outlives its daemon; a living one answers.
void remove_stale_socket(asio::io_context& io, const std::filesystem::path& path)
{
    if (!std::filesystem::is_socket(path)) return;
    boost::system::error_code refused;
    local::socket probe{io};
    probe.connect(path.string(), refused);
    if (!refused) throw std::runtime_error{fmt::format("control socket {}: another evnfd is listening", path.string())};
    std::filesystem::remove(path);
}

} // namespace

/// One client: requests are answered one after the other until it goes.
class ControlServer::Session : public std::enable_shared_from_this<Session> {
public:
    Session(local::socket socket, ControlHandler handler)
        : socket_{std::move(socket)}, handler_{std::move(handler)}, buffer_{input_, kLongestRequest}
    {
    }

    void read()
    {
        asio::async_read_until(socket_, buffer_, '\n', [self = shared_from_this()](boost::system::error_code error, std::size_t length) {
            if (error) return; // gone, or a line that is too long
            const auto line = self->input_.substr(0, length);
            self->buffer_.consume(length);
            self->write(json::serialize(answer(self->handler_, line)) + "\n");
        });
    }

private:
    void write(std::string line)
    {
        output_ = std::move(line);
        asio::async_write(socket_, asio::buffer(output_), [self = shared_from_this()](boost::system::error_code error, std::size_t) {
            if (!error) self->read();
        });
    }

    local::socket socket_;
    ControlHandler handler_;
    std::string input_, output_;
    asio::dynamic_string_buffer<char, std::char_traits<char>, std::allocator<char>> buffer_;
};

ControlServer::ControlServer(asio::io_context& io, const std::filesystem::path& path, ControlHandler handler)
    : path_{path}, handler_{std::move(handler)}, acceptor_{io}
{
    try {
        std::filesystem::create_directories(path.parent_path());
        remove_stale_socket(io, path);
        acceptor_.open();
        acceptor_.bind(local::endpoint{path.string()});
        acceptor_.listen();
    } catch (const boost::system::system_error& error) {
        throw_with_hint(error.code().value(), fmt::format("cannot listen on the control socket {}", path.string()));
    } catch (const std::filesystem::filesystem_error& error) {
        throw_with_hint(error.code().value(), fmt::format("cannot make the place of the control socket {}", path.string()));
    }
    chmod(path.c_str(), 0660);
    accept();
}

ControlServer::~ControlServer()
{
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
}

void ControlServer::accept()
{
    acceptor_.async_accept([this](boost::system::error_code error, local::socket socket) {
        if (error == asio::error::operation_aborted) return;
        if (!error) std::make_shared<Session>(std::move(socket), handler_)->read();
        accept();
    });
}

} // namespace evnf
