// SPDX-License-Identifier: MIT
/// One server's load, asked of its SNMP agent.
#pragma once

#include "feedback_settings.hpp"
#include "snmp.hpp"

namespace evnf::lb {

class LoadReader {
public:
    /// `server`: the agent's address where the source names no other.
    LoadReader(boost::asio::any_io_executor executor, const Address& server, const LoadSource& source,
               std::shared_ptr<const SnmpCredentials> credentials, std::chrono::milliseconds timeout);

    /// The load, 1 at full load, not negative; or why it is not known. Where the CPUs are to be counted, that comes first, and
    /// again after a failure. For the handler SnmpAgent's rules hold.
    void read(SnmpAgent::Handler handler);

private:
    void count_cpus(SnmpAgent::Handler handler);
    void read(double full, SnmpAgent::Handler handler);

    LoadSource source_;
    std::optional<double> full_;
    SnmpAgent agent_;
};

} // namespace evnf::lb
