// SPDX-License-Identifier: MIT
#include "names.hpp"

#include <fmt/format.h>
#include <netinet/in.h>

namespace evnf::dpi {

std::string protocol_name(std::uint8_t protocol)
{
    switch (protocol) {
    case IPPROTO_TCP: return "tcp";
    case IPPROTO_UDP: return "udp";
    case IPPROTO_ICMP: return "icmp";
    case IPPROTO_ICMPV6: return "icmpv6";
    case IPPROTO_SCTP: return "sctp";
    default: return fmt::format("{}", protocol);
    }
}

std::string_view confidence_name(dpi_confidence confidence)
{
    switch (confidence) {
    case DPI_CONFIDENCE_PORT: return "Match by port";
    case DPI_CONFIDENCE_ADDRESS: return "Match by IP";
    case DPI_CONFIDENCE_DPI_CACHE: return "DPI (cache)";
    case DPI_CONFIDENCE_PARTIAL: return "DPI (partial)";
    case DPI_CONFIDENCE_DPI: return "DPI";
    case DPI_CONFIDENCE_RULE: return "Match by custom rule";
    default: return "Unknown";
    }
}

} // namespace evnf::dpi
