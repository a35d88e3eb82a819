// SPDX-License-Identifier: MIT
/// Entries of the flow log as IPFIX messages (RFC 7011), flows with both directions (RFC 5103).
/// libfixbuf's headers are included in ipfix.cpp only.
#pragma once

#include <chrono>
#include <memory>

#include "flow_record.hpp"

namespace evnf::dpi {

/// A message of up to 1400 bytes is a piece.
class IpfixEncoder final : public FlowEncoder {
public:
    /// Over datagrams the templates are sent again every minute: who begins to listen later, or missed them,
    /// can read nothing until then.
    explicit IpfixEncoder(bool datagrams);
    ~IpfixEncoder() override;

    std::string preamble() override;
    std::size_t encode(FlowLogEntries entries, std::string& piece) override;

private:
    class Session; // libfixbuf's objects
    std::unique_ptr<Session> session_;
    bool repeats_;
    std::chrono::steady_clock::time_point repeat_at_{};
};

} // namespace evnf::dpi
