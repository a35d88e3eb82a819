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

#include <evnf/address.hpp>

#include "snmp_types.hpp"

namespace evnf::lb {

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
