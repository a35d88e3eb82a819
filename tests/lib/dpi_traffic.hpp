// SPDX-License-Identifier: MIT
/// What applications say: payloads that nDPI knows.
#pragma once

#include <string>

namespace evnf::test {

inline std::string http_request(const std::string& host)
{
    return "GET /index.html HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
}

inline std::string http_response()
{
    return "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello";
}

/// A TLS 1.2 ClientHello with a server name.
inline std::string client_hello(const std::string& server_name)
{
    const auto u8 = [](std::size_t value) { return std::string(1, static_cast<char>(value)); };
    const auto u16 = [&](std::size_t value) { return u8(value >> 8) + u8(value & 0xff); };
    const auto sized = [&](const std::string& text) { return u16(text.size()) + text; };
    const auto name = sized(u8(0) + sized(server_name));
    const std::string extensions = u16(0) + sized(name)                     // server_name
                                   + u16(10) + sized(sized(u16(29) + u16(23))) // supported_groups
                                   + u16(11) + sized(u8(1) + u8(0))            // ec_point_formats
                                   + u16(13) + sized(sized(u16(0x0403) + u16(0x0804)));
    const std::string hello = u16(0x0303) + std::string(32, 'r') + u8(0) + sized(u16(0xc02f) + u16(0xc030)) + u8(1)
                              + u8(0) + sized(extensions);
    return u8(22) + u16(0x0301) + sized(u8(1) + u8(0) + sized(hello));
}

} // namespace evnf::test
