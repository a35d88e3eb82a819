// SPDX-License-Identifier: MIT
/// nDPI behind a small interface: its headers are included in ndpi_engine.cpp only.
///
/// Engine and the Inspections that it began may be used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dpi_shared.h"

struct ndpi_detection_module_struct;
struct ndpi_flow_struct;

namespace evnf::dpi {

/// What a flow carries, in ndpiReader's words.
struct Label {
    std::string app = "Unknown"; ///< "TLS.Google"
    std::string category = "Unspecified";
    dpi_confidence confidence = DPI_CONFIDENCE_UNKNOWN;
    std::string sni; ///< TLS or QUIC server name, HTTP host, DNS name; SSH: the client's banner

    bool known() const noexcept { return confidence != DPI_CONFIDENCE_UNKNOWN; }
};

/// All names that an engine may give. A risk's place is the number of its bit.
struct Vocabulary {
    std::vector<std::string> apps, categories, risks;
};

class Engine;

/// nDPI's state of one flow.
class Inspection {
public:
    explicit Inspection(std::shared_ptr<Engine> engine);
    ~Inspection();
    Inspection(const Inspection&) = delete;
    Inspection& operator=(const Inspection&) = delete;

    /// Takes an IP packet; true when more packets would not tell more.
    bool feed(std::span<const std::byte> packet, std::uint64_t time_ms, bool from_initiator);
    /// Decides on what was seen so far, by ports and addresses where that is not enough.
    void give_up();
    Label label() const;
    /// What give_up() would say of a flow whose label is not known; leaves the state as it is.
    Label guess(const dpi_key& key, unsigned initiator) const;

private:
    struct Protocol {
        std::uint16_t master = 0, app = 0;
        int category = 0;
    };
    std::shared_ptr<Engine> engine_;
    ndpi_flow_struct* flow_;
    Protocol protocol_; // as nDPI last said
};

/// A detection module with its custom protocols. Takes 16 ms and 6 MB to make.
class Engine {
public:
    /// `protocols`: rules in the form of Settings::protocols. Throws std::runtime_error.
    explicit Engine(const std::string& protocols);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    /// What the addresses and ports alone say, of a flow that opened in direction `initiator`.
    Label guess(const dpi_key& key, unsigned initiator) const { return guess(key, initiator, nullptr); }
    Vocabulary vocabulary() const;

private:
    friend class Inspection;
    Label guess(const dpi_key& key, unsigned initiator, ndpi_flow_struct* flow) const;

    static constexpr std::size_t kTail = 64; // nDPI reads past the end in places
    ndpi_detection_module_struct* module_;
    alignas(8) unsigned char packet_[DPI_LARGE_COPY + kTail];
};

} // namespace evnf::dpi
