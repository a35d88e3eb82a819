// SPDX-License-Identifier: MIT
#include "capture.hpp"

#include <linux/if_ether.h>
#include <pcap/pcap.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <system_error>

#include <fmt/format.h>

namespace evnf {
namespace {

constexpr std::size_t kSllHeader = 16, kSllProtocol = 14;
constexpr std::size_t kSll2Header = 20, kSll2Protocol = 0;
constexpr std::size_t kFamilyHeader = 4;
constexpr int kSnapLength = 262144; // libpcap's own limit

/// Where the network layer of a frame starts and what it is; `protocol` 0: `unusable` says why.
struct Network {
    std::size_t offset = 0;
    std::uint16_t protocol = 0;
    std::string unusable;
};

unsigned byte(std::span<const std::byte> bytes, std::size_t at)
{
    return std::to_integer<unsigned>(bytes[at]);
}

Network by_version(std::span<const std::byte> bytes)
{
    const unsigned version = bytes.empty() ? 0 : byte(bytes, 0) >> 4;
    if (version == 4) return {.protocol = ETH_P_IP};
    if (version == 6) return {.protocol = ETH_P_IPV6};
    return {.unusable = "neither IPv4 nor IPv6"};
}

Network by_ethertype(std::span<const std::byte> bytes, std::size_t header, std::size_t at)
{
    if (bytes.size() < header) return {.unusable = "shorter than its link header"};
    const unsigned protocol = byte(bytes, at) << 8 | byte(bytes, at + 1);
    // Below are the kernel's own numbers for frames that carry no ethertype.
    if (protocol < ETH_P_802_3_MIN)
        return {.unusable = fmt::format("protocol {:#06x} is no ethertype", protocol)};
    return {.offset = header, .protocol = static_cast<std::uint16_t>(protocol)};
}

/// The address family in null and loop headers, in the byte order of the machine that captured.
Network by_family(std::span<const std::byte> bytes)
{
    if (bytes.size() < kFamilyHeader) return {.unusable = "shorter than its link header"};
    const unsigned big = byte(bytes, 0) << 24 | byte(bytes, 1) << 16 | byte(bytes, 2) << 8 | byte(bytes, 3);
    const unsigned family = std::min(big, __builtin_bswap32(big));
    switch (family) {
    case 2: return {.offset = kFamilyHeader, .protocol = ETH_P_IP};
    case 10: // Linux
    case 24: // NetBSD, OpenBSD
    case 28: // FreeBSD
    case 30: // macOS
        return {.offset = kFamilyHeader, .protocol = ETH_P_IPV6};
    default: return {.unusable = fmt::format("address family {} is neither IPv4 nor IPv6", family)};
    }
}

Network network_of(int link_type, std::span<const std::byte> bytes)
{
    switch (link_type) {
    case DLT_RAW:
    case DLT_IPV4:
    case DLT_IPV6: return by_version(bytes);
    case DLT_LINUX_SLL: return by_ethertype(bytes, kSllHeader, kSllProtocol);
    case DLT_LINUX_SLL2: return by_ethertype(bytes, kSll2Header, kSll2Protocol);
    case DLT_NULL:
    case DLT_LOOP: return by_family(bytes);
    default: break;
    }
    const char* name = pcap_datalink_val_to_name(link_type);
    return {.unusable =
                fmt::format("link type {} is not supported", name ? name : std::to_string(link_type))};
}

void give_ethernet(Frame& frame, std::span<const std::byte> bytes, const Network& network)
{
    constexpr std::array<unsigned char, ETH_HLEN - 2> kAddresses{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
    for (const unsigned char octet : kAddresses) frame.bytes.push_back(std::byte{octet});
    frame.bytes.push_back(static_cast<std::byte>(network.protocol >> 8));
    frame.bytes.push_back(static_cast<std::byte>(network.protocol & 0xff));
    const auto payload = bytes.subspan(network.offset);
    frame.bytes.insert(frame.bytes.end(), payload.begin(), payload.end());
    frame.synthetic_ethernet = true;
}

/// libpcap's messages name the file only where it could not be opened.
std::string named(const std::string& path, const std::string& message)
{
    return message.find(path) == std::string::npos ? fmt::format("{}: {}", path, message) : message;
}

} // namespace

void CaptureReader::Close::operator()(pcap* capture) const noexcept { pcap_close(capture); }

CaptureReader::CaptureReader(std::string path) : path_{std::move(path)}
{
    char error[PCAP_ERRBUF_SIZE] = "";
    capture_.reset(pcap_open_offline_with_tstamp_precision(path_.c_str(), PCAP_TSTAMP_PRECISION_NANO, error));
    if (!capture_) throw std::runtime_error{named(path_, error)};
    link_type_ = pcap_datalink(capture_.get());
}

std::optional<Frame> CaptureReader::next()
{
    pcap_pkthdr* header = nullptr;
    const u_char* data = nullptr;
    const int result = pcap_next_ex(capture_.get(), &header, &data);
    if (result == PCAP_ERROR_BREAK) return std::nullopt;
    ++packets_;
    if (result != 1)
        throw std::runtime_error{
            fmt::format("{}: packet {}: {}", path_, packets_, pcap_geterr(capture_.get()))};

    const std::span<const std::byte> bytes = std::as_bytes(std::span{data, header->caplen});
    Frame frame;
    // With nanosecond precision tv_usec counts nanoseconds.
    frame.time = std::chrono::seconds{header->ts.tv_sec} + std::chrono::nanoseconds{header->ts.tv_usec};
    if (link_type_ == DLT_EN10MB) {
        frame.bytes.assign(bytes.begin(), bytes.end());
    } else {
        const Network network = network_of(link_type_, bytes);
        frame.unusable = network.unusable;
        if (network.protocol) give_ethernet(frame, bytes, network);
    }
    if (header->caplen < header->len)
        frame.unusable = fmt::format("cut short by the capture: {} of {} bytes", header->caplen, header->len);
    else if (frame.unusable.empty() && frame.bytes.size() < ETH_HLEN)
        frame.unusable = "shorter than an Ethernet header";
    return frame;
}

void CaptureWriter::Close::operator()(pcap* capture) const noexcept { pcap_close(capture); }
void CaptureWriter::Close::operator()(pcap_dumper* dumper) const noexcept { pcap_dump_close(dumper); }

CaptureWriter::CaptureWriter(std::string path)
    : path_{std::move(path)},
      capture_{pcap_open_dead_with_tstamp_precision(DLT_EN10MB, kSnapLength, PCAP_TSTAMP_PRECISION_NANO)}
{
    if (!capture_) throw std::bad_alloc{};
    dumper_.reset(pcap_dump_open(capture_.get(), path_.c_str()));
    if (!dumper_) throw std::runtime_error{named(path_, pcap_geterr(capture_.get()))};
}

void CaptureWriter::write(std::span<const std::byte> frame, std::chrono::nanoseconds time)
{
    const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
    pcap_pkthdr header{};
    header.ts.tv_sec = seconds.count();
    header.ts.tv_usec = (time - seconds).count();
    header.caplen = header.len = static_cast<bpf_u_int32>(frame.size());
    pcap_dump(reinterpret_cast<u_char*>(dumper_.get()), &header,
              reinterpret_cast<const u_char*>(frame.data()));
}

void CaptureWriter::close()
{
    const bool failed = pcap_dump_flush(dumper_.get()) != 0 || std::ferror(pcap_dump_file(dumper_.get()));
    const int error = errno;
    dumper_.reset();
    if (failed)
        throw std::system_error{error, std::generic_category(), fmt::format("cannot write {}", path_)};
}

} // namespace evnf
