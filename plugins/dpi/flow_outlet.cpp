// SPDX-License-Identifier: MIT
#include "flow_outlet.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include <evnf/bpf.hpp>

namespace evnf::dpi {

namespace {

using Kind = FlowLogTarget::Kind;

constexpr timeval kPatience{2, 0};
constexpr mode_t kMode = 0640; // who talked to whom is nobody else's business

class FileOutlet final : public Outlet {
public:
    explicit FileOutlet(const std::string& path)
        : file_{open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, kMode)}
    {
        if (!file_) throw_errno(errno, "cannot open");
        if (!S_ISREG(status().st_mode)) throw_errno(EINVAL, "not a regular file");
    }

    void send(std::string_view piece) override
    {
        const auto written = write(file_.get(), piece.data(), piece.size());
        if (written == static_cast<ssize_t>(piece.size())) return;
        const int error = written < 0 ? errno : ENOSPC;
        // Half a line would spoil the next one.
        if (written > 0 && ftruncate(file_.get(), status().st_size - written)) throw_errno(errno, "cannot take back half a line");
        throw_errno(error, "cannot write");
    }

private:
    struct stat status() const
    {
        struct stat status {};
        if (fstat(file_.get(), &status)) throw_errno(errno, "fstat");
        return status;
    }

    Fd file_;
};

class SocketOutlet final : public Outlet {
public:
    SocketOutlet(int type, const sockaddr* address, std::size_t size)
        : socket_{socket(address->sa_family, type | SOCK_CLOEXEC, 0)}, is_stream_{type == SOCK_STREAM}
    {
        if (!socket_) throw_errno(errno, "cannot make a socket");
        // Holds for connect() as well.
        if (setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience)) throw_errno(errno, "SO_SNDTIMEO");
        if (connect(socket_.get(), address, static_cast<socklen_t>(size))) throw_errno(errno == EINPROGRESS ? ETIMEDOUT : errno, "cannot connect");
    }

    void send(std::string_view piece) override
    {
        if (is_stream_ && is_closed()) throw_errno(EPIPE, "the other side has closed the connection");
        while (!piece.empty()) {
            const auto sent = ::send(socket_.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
            if (sent < 0 && errno == EINTR) continue;
            if (sent < 0) throw_errno(errno == EAGAIN ? ETIMEDOUT : errno, "cannot send");
            piece.remove_prefix(static_cast<std::size_t>(sent));
        }
    }

private:
    /// Else the first piece after the end would be lost without an error. What the other side says is of no interest.
    bool is_closed() const
    {
        char answer[256];
        for (;;) {
            const auto got = recv(socket_.get(), answer, sizeof answer, MSG_DONTWAIT);
            if (got <= 0) return got == 0 || (errno != EAGAIN && errno != EINTR);
        }
    }

    Fd socket_;
    bool is_stream_;
};

std::unique_ptr<Outlet> connect_unix(const std::string& path)
{
    const boost::asio::local::stream_protocol::endpoint endpoint{path};
    try {
        return std::make_unique<SocketOutlet>(SOCK_STREAM, endpoint.data(), endpoint.size());
    } catch (const std::system_error& error) {
        if (error.code().value() != EPROTOTYPE) throw;
    }
    return std::make_unique<SocketOutlet>(SOCK_DGRAM, endpoint.data(), endpoint.size());
}

std::unique_ptr<Outlet> connect_ip(int type, const Endpoint& to)
{
    // No more than a socket address of either family: the same for TCP and UDP.
    const boost::asio::ip::tcp::endpoint endpoint{boost::asio::ip::make_address(to.address.text()), to.port};
    return std::make_unique<SocketOutlet>(type, endpoint.data(), endpoint.size());
}

} // namespace

std::unique_ptr<Outlet> open_outlet(const FlowLogTarget& target)
{
    switch (target.kind) {
    case Kind::file: return std::make_unique<FileOutlet>(target.path);
    case Kind::unix_socket: return connect_unix(target.path);
    case Kind::udp:
    case Kind::ipfix_udp: return connect_ip(SOCK_DGRAM, target.endpoint);
    case Kind::tcp:
    case Kind::ipfix_tcp: return connect_ip(SOCK_STREAM, target.endpoint);
    }
    throw std::logic_error("a kind of flow log target without an outlet");
}

} // namespace evnf::dpi
