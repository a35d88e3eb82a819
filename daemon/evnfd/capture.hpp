// SPDX-License-Identifier: MIT
/// Captures (pcap, pcapng) as the Ethernet frames that a chain can be run on.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

struct pcap;
struct pcap_dumper;

namespace evnf {

struct Frame {
    std::vector<std::byte> bytes;     ///< from the destination MAC address on
    std::chrono::nanoseconds time{};  ///< since the epoch
    std::string unusable;             ///< why no chain can be run on it; empty where one can
    bool synthetic_ethernet = false;  ///< the capture had no Ethernet header; this one is made up
};

/// Reads a capture from its beginning to its end. Raw IP, Linux cooked (SLL, SLL2) and null/loop
/// frames get an Ethernet header; a frame of any other link type is unusable and says so.
class CaptureReader {
public:
    /// Throws std::runtime_error that names the file and the reason.
    explicit CaptureReader(std::string path);

    /// The next frame, or nothing at the end. Throws std::runtime_error that names the file, the
    /// packet and the reason where the file is damaged; the packets before it were delivered.
    std::optional<Frame> next();

private:
    struct Close {
        void operator()(pcap* capture) const noexcept;
    };

    std::string path_;
    std::unique_ptr<pcap, Close> capture_;
    int link_type_ = 0;
    std::uint64_t packets_ = 0;
};

/// Writes Ethernet frames as a pcap file.
class CaptureWriter {
public:
    /// Throws std::runtime_error that names the file and the reason.
    explicit CaptureWriter(std::string path);

    void write(std::span<const std::byte> frame, std::chrono::nanoseconds time);
    /// Throws std::runtime_error where not all of it could be written. Without it, the destructor
    /// closes the file and says nothing.
    void close();

private:
    struct Close {
        void operator()(pcap* capture) const noexcept;
        void operator()(pcap_dumper* dumper) const noexcept;
    };

    std::string path_;
    std::unique_ptr<pcap, Close> capture_;
    std::unique_ptr<pcap_dumper, Close> dumper_;
};

} // namespace evnf
