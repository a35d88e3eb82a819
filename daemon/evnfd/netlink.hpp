// SPDX-License-Identifier: MIT
/// Messages from and to the kernel's routing tables (rtnetlink). libmnl takes them apart.
#pragma once

#include <libmnl/libmnl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <vector>

#include <evnf/bpf.hpp>

namespace evnf {

/// One rtnetlink socket. What the kernel answers to a request is there when send() returns, so
/// that nothing here waits for anybody.
class Netlink {
public:
    using Visit = std::function<void(const nlmsghdr& message)>;

    /// Subscribed to the multicast groups (RTNLGRP_…), if any.
    explicit Netlink(std::initializer_list<unsigned> groups = {});

    int fd() const noexcept { return fd_.get(); }
    void send(const void* messages, std::size_t size);
    /// Calls `visit` for each message of one datagram. False where there is none. Throws
    /// std::system_error; ENOBUFS says that messages were lost.
    bool receive(const Visit& visit);
    /// Calls `visit` for each object of a table (RTM_GETLINK, …). `restart` is called first, and
    /// again where the table changed under the dump, which then begins anew.
    void dump(std::uint16_t type, const std::function<void()>& restart, const Visit& visit);
    /// The same with the request's fixed part: what a kernel needs to know of the table.
    void dump(std::uint16_t type, const void* body, std::size_t size, const std::function<void()>& restart, const Visit& visit);
    /// Sends one request and waits for the kernel's acknowledgement. 0, or the errno with which it was refused.
    int request(nlmsghdr& message);

private:
    bool dump_once(std::uint16_t type, const void* body, std::size_t size, const Visit& visit);

    Fd fd_;
    std::uint32_t sequence_ = 0;
    std::vector<char> buffer_;
};

/// Calls `visit(const nlattr*)` for each attribute behind the `header_size` bytes of a message's
/// fixed header.
template <class Visit>
void for_each_attribute(const nlmsghdr& message, std::size_t header_size, Visit visit)
{
    const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(&message));
    auto* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(&message, header_size));
    for (; mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
         attribute = mnl_attr_next(attribute))
        visit(attribute);
}

/// The same for the attributes within an attribute.
template <class Visit>
void for_each_nested(const nlattr* nest, Visit visit)
{
    const auto* end = static_cast<const char*>(mnl_attr_get_payload(nest)) + mnl_attr_get_payload_len(nest);
    auto* attribute = static_cast<const nlattr*>(mnl_attr_get_payload(nest));
    for (; mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
         attribute = mnl_attr_next(attribute))
        visit(attribute);
}

/// The attributes by number; null where absent. Numbers above `Max` are left out.
template <unsigned Max>
std::array<const nlattr*, Max + 1> attributes_of(const nlmsghdr& message, std::size_t header_size)
{
    std::array<const nlattr*, Max + 1> attributes{};
    for_each_attribute(message, header_size, [&](const nlattr* attribute) {
        const std::uint16_t type = mnl_attr_get_type(attribute);
        if (type <= Max) attributes[type] = attribute;
    });
    return attributes;
}

} // namespace evnf
