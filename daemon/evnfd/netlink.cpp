// SPDX-License-Identifier: MIT
#include "netlink.hpp"

#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace evnf {
namespace {

constexpr std::size_t kBufferSize = 65536;   // the kernel's datagrams are 32 KiB at most
constexpr int kReceiveQueue = 4 << 20;       // bytes of events that may wait for us
constexpr int kDumpAttempts = 5;

void set_option(int fd, int level, int option, int value, const char* name)
{
    if (setsockopt(fd, level, option, &value, sizeof value))
        throw_errno(errno, fmt::format("cannot set {} of a netlink socket", name));
}

constexpr std::size_t kLargestBody = std::max(sizeof(ifinfomsg), sizeof(tcmsg));

/// Length of the request's fixed part: the kernel logs a complaint about each byte too many.
std::size_t request_size(std::uint16_t type)
{
    static_assert(sizeof(ndmsg) == sizeof(rtmsg) && sizeof(fib_rule_hdr) == sizeof(rtmsg));
    return type == RTM_GETLINK ? sizeof(ifinfomsg) : sizeof(rtmsg);
}

} // namespace

Netlink::Netlink(std::initializer_list<unsigned> groups)
    : fd_{socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)}, buffer_(kBufferSize)
{
    if (!fd_) throw_errno(errno, "cannot open a netlink socket");
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    if (bind(fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address))
        throw_errno(errno, "cannot bind a netlink socket");
    set_option(fd(), SOL_SOCKET, SO_RCVBUFFORCE, kReceiveQueue, "SO_RCVBUFFORCE");
    for (const unsigned group : groups)
        set_option(fd(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, static_cast<int>(group), "a group");
}

void Netlink::send(const void* messages, std::size_t size)
{
    if (::send(fd(), messages, size, 0) < 0) throw_errno(errno, "cannot send to netlink");
}

bool Netlink::receive(const Visit& visit)
{
    const ssize_t size = recv(fd(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (size < 0) throw_errno(errno, "cannot receive from netlink");
    if (static_cast<std::size_t>(size) > buffer_.size()) throw_errno(ENOBUFS, "netlink message too long");
    int left = static_cast<int>(size);
    for (auto* message = reinterpret_cast<const nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(message, left);
         message = mnl_nlmsg_next(message, &left))
        visit(*message);
    return true;
}

bool Netlink::dump_once(std::uint16_t type, const void* body, std::size_t size, const Visit& visit)
{
    std::array<char, MNL_NLMSG_HDRLEN + MNL_ALIGN(kLargestBody)> request{};
    nlmsghdr* header = mnl_nlmsg_put_header(request.data());
    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    header->nlmsg_seq = ++sequence_;
    std::memcpy(mnl_nlmsg_put_extra_header(header, size), body, size);
    send(header, header->nlmsg_len);

    bool done = false, consistent = true;
    const Visit take = [&](const nlmsghdr& message) {
        if (message.nlmsg_seq != sequence_) return; // of an earlier dump that was given up
        if (message.nlmsg_flags & NLM_F_DUMP_INTR) consistent = false;
        if (message.nlmsg_type == NLMSG_ERROR) {
            const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(&message));
            throw_errno(-error->error, fmt::format("cannot dump the kernel's table (request {})", type));
        }
        if (message.nlmsg_type == NLMSG_DONE)
            done = true;
        else
            visit(message);
    };
    while (!done)
        if (!receive(take)) throw_errno(EIO, fmt::format("the dump ended early (request {})", type));
    return consistent;
}

void Netlink::dump(std::uint16_t type, const std::function<void()>& restart, const Visit& visit)
{
    const std::array<char, kLargestBody> all{}; // no family: all of them
    dump(type, all.data(), request_size(type), restart, visit);
}

void Netlink::dump(std::uint16_t type, const void* body, std::size_t size, const std::function<void()>& restart, const Visit& visit)
{
    for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
        restart();
        if (dump_once(type, body, size, visit)) return;
    }
    throw_errno(EAGAIN, fmt::format("the kernel's table changes too fast to be read (request {})", type));
}

int Netlink::request(nlmsghdr& message)
{
    message.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    message.nlmsg_seq = ++sequence_;
    send(&message, message.nlmsg_len);
    int result = EIO; // where no answer is of this request
    while (receive([&](const nlmsghdr& answer) {
        if (answer.nlmsg_seq == sequence_ && answer.nlmsg_type == NLMSG_ERROR)
            result = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(&answer))->error;
    })) {
    }
    return result;
}

} // namespace evnf
