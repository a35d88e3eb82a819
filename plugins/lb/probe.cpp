// SPDX-License-Identifier: MIT
#include "probe.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ostream.h>
#include <fmt/ranges.h>

#include "health_settings.hpp"

namespace evnf::lb {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;

constexpr std::size_t kMostOfBody = 1'000'000;

/// Keeps itself alive by the operation that is under way; each ends with an error when it is cancelled or out of time.
class TcpProbe final : public Probe, public std::enable_shared_from_this<TcpProbe> {
public:
    TcpProbe(const asio::any_io_executor& executor, std::shared_ptr<const Health> health,
             std::function<void(const ProbeResult&)> done)
        : stream_{executor}, health_{std::move(health)}, done_{std::move(done)}
    {
    }

    void start(const asio::ip::tcp::endpoint& server)
    {
        stream_.expires_after(health_->timeout);
        stream_.async_connect(server, [self = shared_from_this(), server](error_code error) {
            if (error || self->health_->type == Health::Type::tcp) return self->finish(error, "connected");
            self->ask(server);
        });
    }

    void cancel() noexcept override
    {
        done_ = nullptr;
        stream_.close();
    }

private:
    void ask(const asio::ip::tcp::endpoint& server)
    {
        request_ = {http::verb::get, health_->path, 11};
        request_.set(http::field::host, health_->host.empty() ? fmt::format("{}", fmt::streamed(server)) : health_->host);
        request_.set(http::field::user_agent, "evnf-health-check");
        request_.set(http::field::connection, "close");
        http::async_write(stream_, request_, [self = shared_from_this()](error_code error, std::size_t) {
            if (error) return self->finish(error, "");
            self->read_head();
        });
    }

    void read_head()
    {
        response_.body_limit(kMostOfBody);
        http::async_read_header(stream_, buffer_, response_, [self = shared_from_this()](error_code error, std::size_t) {
            if (error) return self->finish(error, "");
            self->judge_status();
        });
    }

    void judge_status()
    {
        const unsigned status = response_.get().result_int();
        const auto& expect = health_->expect;
        if (std::any_of(expect.begin(), expect.end(),
                        [&](const auto& range) { return range.first <= status && status <= range.last; }))
            return health_->body.empty() ? finish(true, fmt::format("status {}", status)) : read_body();
        std::vector<std::string> wanted;
        for (const auto& range : expect) wanted.push_back(text(range));
        finish(false, fmt::format("status {}, not {}", status, fmt::join(wanted, ", ")));
    }

    void read_body()
    {
        http::async_read(stream_, buffer_, response_, [self = shared_from_this()](error_code error, std::size_t) {
            if (error) return self->finish(error, "");
            const auto status = self->response_.get().result_int();
            const bool found = self->response_.get().body().find(self->health_->body) != std::string::npos;
            self->finish(found, found ? fmt::format("status {}", status)
                                      : fmt::format("status {}, but '{}' is not in the body", status, self->health_->body));
        });
    }

    void finish(error_code error, const std::string& success)
    {
        if (error == beast::error::timeout)
            finish(false, fmt::format("no answer in {} ms", health_->timeout.count()));
        else
            finish(!error, error ? error.message() : success);
    }

    void finish(bool good, std::string text)
    {
        stream_.close();
        if (const auto done = std::exchange(done_, nullptr)) done({good, std::move(text)});
    }

    beast::tcp_stream stream_;
    std::shared_ptr<const Health> health_;
    std::function<void(const ProbeResult&)> done_;
    http::request<http::empty_body> request_;
    http::response_parser<http::string_body> response_;
    beast::flat_buffer buffer_;
};

} // namespace

std::shared_ptr<Probe> start_probe(const asio::any_io_executor& executor, const Address& address, std::uint16_t port,
                                   std::shared_ptr<const Health> health, std::function<void(const ProbeResult&)> done)
{
    const auto probe = std::make_shared<TcpProbe>(executor, std::move(health), std::move(done));
    probe->start({asio::ip::make_address(address.text()), port});
    return probe;
}

} // namespace evnf::lb
