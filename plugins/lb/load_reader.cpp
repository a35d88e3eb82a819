// SPDX-License-Identifier: MIT
#include "load_reader.hpp"

#include <cmath>

#include <fmt/format.h>

namespace evnf::lb {

namespace {

/// hrProcessorFrwID of HOST-RESOURCES-MIB: a row for each CPU, from the agent's start on. hrProcessorLoad has none for a minute.
const Oid kProcessors{1, 3, 6, 1, 2, 1, 25, 3, 3, 1, 1};

SnmpAnswer load_of(const SnmpAnswer& answer, double full)
{
    if (!answer.value) return answer;
    if (!std::isfinite(*answer.value) || *answer.value < 0) return {std::nullopt, fmt::format("the value is no load: {}", *answer.value)};
    return {*answer.value / full, {}};
}

} // namespace

LoadReader::LoadReader(boost::asio::any_io_executor executor, const Address& server, const LoadSource& source,
                       std::shared_ptr<const SnmpCredentials> credentials, std::chrono::milliseconds timeout)
    : source_{source},
      full_{source.full},
      agent_{std::move(executor), source.address.value_or(server), source.port, std::move(credentials), timeout}
{
}

void LoadReader::read(SnmpAgent::Handler handler)
{
    if (full_)
        read(*full_, std::move(handler));
    else
        count_cpus(std::move(handler));
}

void LoadReader::count_cpus(SnmpAgent::Handler handler)
{
    agent_.count_rows(kProcessors, [this, handler = std::move(handler)](const SnmpAnswer& rows) {
        if (!rows.value) return handler(rows);
        if (*rows.value == 0) return handler({std::nullopt, "the agent does not show its CPUs (hrProcessorTable): 'cpus' can tell their number"});
        full_ = rows.value;
        read(*full_, handler);
    });
}

void LoadReader::read(double full, SnmpAgent::Handler handler)
{
    agent_.get(source_.oid, [this, full, handler = std::move(handler)](const SnmpAnswer& answer) {
        if (!answer.value) full_ = source_.full; // it may come back with other CPUs
        handler(load_of(answer, full));
    });
}

} // namespace evnf::lb
