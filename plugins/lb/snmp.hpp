// SPDX-License-Identifier: MIT
/// Asks SNMP agents, on the control loop and without ever blocking it. net-snmp is known to snmp.cpp alone.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <evnf/address.hpp>

namespace evnf::lb {

using Oid = std::vector<unsigned long>;

/// Reads ".1.3.6.1.2.1.1.3.0", with or without the first dot; nothing where the text is no numeric OID.
std::optional<Oid> parse_oid(std::string_view text);

enum class SnmpHash { sha1, sha224, sha256, sha384, sha512 };

/// A user of SNMPv3 (USM): always authenticated, encrypted (AES-128) where it has a privacy password.
struct SnmpUser {
    std::string name;
    SnmpHash hash = SnmpHash::sha1;
    std::string auth_password; ///< both of 8 characters and more: RFC 3414
    std::optional<std::string> privacy_password;

    bool operator==(const SnmpUser&) const = default;
};

/// Who asks: a community (SNMPv2c) or a user (SNMPv3).
using SnmpIdentity = std::variant<std::string, SnmpUser>;

/// An identity ready for use. The keys of a user take some milliseconds to make from the passwords: make one for all agents.
class SnmpCredentials;
std::shared_ptr<const SnmpCredentials> make_snmp_credentials(const SnmpIdentity& identity);

/// A number, or why there is none.
struct SnmpAnswer {
    std::optional<double> value;
    std::string failure;
};

/// One agent. All on the executor's thread, one question at a time. Handlers run there, after the call has returned, and not
/// after the destruction.
class SnmpAgent {
public:
    using Handler = std::function<void(SnmpAnswer)>;

    /// `timeout`: of one question and its answer. Opens its socket with the first question.
    SnmpAgent(boost::asio::any_io_executor executor, const Address& address, std::uint16_t port,
              std::shared_ptr<const SnmpCredentials> credentials, std::chrono::milliseconds timeout);
    ~SnmpAgent();
    SnmpAgent(const SnmpAgent&) = delete;
    SnmpAgent& operator=(const SnmpAgent&) = delete;

    /// The variable's value, if it is a number: INTEGER, Gauge32, an Opaque float or double, or a text that is a number.
    void get(const Oid& variable, Handler handler);
    /// How many rows the column of a table has, at most 4096.
    void count_rows(const Oid& column, Handler handler);

private:
    class Session;
    std::shared_ptr<Session> session_;
};

} // namespace evnf::lb
