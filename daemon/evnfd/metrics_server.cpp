// SPDX-License-Identifier: MIT
#include "metrics_server.hpp"

#include <fmt/format.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>

#include "errno_hint.hpp"

namespace evnf {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

namespace {

constexpr int kMostSessions = 16;
constexpr std::uint32_t kLongestRequest = 8192;
constexpr std::chrono::seconds kPatience{5};

using Response = http::response<http::string_body>;

Response answer(http::status status, std::string text)
{
    Response response{status, 11};
    response.set(http::field::content_type, "text/plain; charset=utf-8");
    response.body() = std::move(text);
    return response;
}

Response answer(const http::request<http::empty_body>& request, const std::function<std::string()>& text)
{
    const bool head = request.method() == http::verb::head;
    if (request.target().substr(0, request.target().find('?')) != "/metrics") return answer(http::status::not_found, "See /metrics.\n");
    if (request.method() != http::verb::get && !head) {
        auto refusal = answer(http::status::method_not_allowed, "GET or HEAD.\n");
        refusal.set(http::field::allow, "GET, HEAD");
        return refusal;
    }
    try {
        auto response = answer(http::status::ok, text());
        response.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
        return response;
    } catch (const std::exception& error) {
        return answer(http::status::internal_server_error, fmt::format("{}\n", error.what()));
    }
}

} // namespace

/// Where connections come from, and what is common to them.
class MetricsServer::Listener : public std::enable_shared_from_this<Listener> {
public:
    Listener(asio::io_context& io, const Endpoint& endpoint, std::function<std::string()> metrics)
        : text{std::move(metrics)}, acceptor_{io}, pause_{io}
    {
        const tcp::endpoint address{asio::ip::make_address(endpoint.address.text()), endpoint.port};
        acceptor_.open(address.protocol());
        acceptor_.set_option(tcp::acceptor::reuse_address{true});
        acceptor_.bind(address);
        acceptor_.listen();
    }

    void accept();
    void close()
    {
        boost::system::error_code ignored;
        acceptor_.close(ignored);
        pause_.cancel();
    }

    const std::function<std::string()> text;
    int sessions = 0;

private:
    void rest();

    tcp::acceptor acceptor_;
    asio::steady_timer pause_;
};

/// One request and its answer.
class MetricsServer::Session : public std::enable_shared_from_this<Session> {
public:
    Session(tcp::socket socket, std::shared_ptr<Listener> listener) : stream_{std::move(socket)}, listener_{std::move(listener)}
    {
        ++listener_->sessions;
        parser_.header_limit(kLongestRequest);
        parser_.body_limit(0);
    }
    ~Session() { --listener_->sessions; }

    void read()
    {
        stream_.expires_after(kPatience);
        http::async_read(stream_, buffer_, parser_, [self = shared_from_this()](beast::error_code error, std::size_t) { self->take(error); });
    }

private:
    void take(beast::error_code error)
    {
        if (!error) return write(answer(parser_.get(), listener_->text), parser_.get().method() == http::verb::head);
        const bool is_http_error = error.category() == make_error_code(http::error::bad_target).category();
        if (is_http_error && error != http::error::end_of_stream && error != http::error::partial_message)
            write(answer(http::status::bad_request, error.message() + "\n"), false);
    }

    void write(Response response, bool without_body)
    {
        response.keep_alive(false);
        response.prepare_payload();
        response_.emplace(std::move(response));
        serializer_.emplace(*response_);
        serializer_->split(without_body);
        stream_.expires_after(kPatience);
        const auto end = [self = shared_from_this()](beast::error_code, std::size_t) { self->hang_up(); };
        if (without_body)
            http::async_write_header(stream_, *serializer_, end);
        else
            http::async_write(stream_, *serializer_, end);
    }

    void hang_up()
    {
        beast::error_code ignored;
        stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    }

    beast::tcp_stream stream_;
    std::shared_ptr<Listener> listener_;
    beast::flat_buffer buffer_{kLongestRequest};
    http::request_parser<http::empty_body> parser_;
    std::optional<Response> response_;
    std::optional<http::response_serializer<http::string_body>> serializer_;
};

void MetricsServer::Listener::accept()
{
    acceptor_.async_accept([self = shared_from_this()](boost::system::error_code error, tcp::socket socket) {
        if (!self->acceptor_.is_open()) return;
        if (error) return self->rest();
        if (self->sessions < kMostSessions) std::make_shared<Session>(std::move(socket), self)->read();
        self->accept();
    });
}

/// No file descriptor is left, say: to try again at once would hold the loop.
void MetricsServer::Listener::rest()
{
    pause_.expires_after(kPatience);
    pause_.async_wait([self = shared_from_this()](boost::system::error_code) {
        if (self->acceptor_.is_open()) self->accept();
    });
}

MetricsServer::MetricsServer(asio::io_context& io, const Endpoint& endpoint, std::function<std::string()> text) : endpoint_{endpoint}
{
    try {
        listener_ = std::make_shared<Listener>(io, endpoint, std::move(text));
    } catch (const boost::system::system_error& error) {
        throw_with_hint(error.code().value(), fmt::format("daemon.metrics: cannot listen on {}", endpoint.text()));
    }
    listener_->accept();
}

MetricsServer::~MetricsServer()
{
    listener_->close();
}

} // namespace evnf
