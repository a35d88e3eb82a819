// SPDX-License-Identifier: MIT
/// nDPI behind a small interface: its headers are included in ndpi_engine.cpp only.
///
/// Thread-safe, by a lock of each Engine: who asks it something waits while it dissects a packet. An Inspection is for
/// one thread at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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
    std::string ja3_client, ja3_server; ///< TLS and QUIC: hexadecimal; empty where no hello was seen
    std::uint64_t risk = 0;             ///< bits by nDPI's numbers: risk_names()

    bool known() const noexcept { return confidence != DPI_CONFIDENCE_UNKNOWN; }
    /// By addresses or ports alone, or not at all.
    bool guessed() const noexcept { return confidence <= DPI_CONFIDENCE_ADDRESS; }
};

/// All names that an engine may give. A risk's place is the number of its bit.
struct Vocabulary {
    std::vector<std::string> apps, categories, risks;
};
/// nDPI's names of the risks, in the order of their bits: "Self-signed Certificate".
std::vector<std::string_view> risk_names(std::uint64_t risk);

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
    /// The same, and the label; nothing where the engine is busy for so long.
    std::optional<Label> give_up_within(std::chrono::milliseconds patience);
    Label label() const;
    /// What give_up() and label() would say; leaves the state as it is.
    Label guess();

private:
    struct Protocol {
        std::uint16_t master = 0, app = 0;
        int category = 0;
    };
    void decide();
    Label describe() const;
    void add_details(Label& label) const;
    bool speaks(std::uint16_t protocol) const { return protocol_.app == protocol || protocol_.master == protocol; }

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
    Label guess(const dpi_key& key, unsigned initiator) const;
    Vocabulary vocabulary() const;

private:
    friend class Inspection;

    mutable std::timed_mutex mutex_; // of all that follows
    static constexpr std::size_t kTail = 64; // nDPI reads past the end in places
    ndpi_detection_module_struct* module_;
    alignas(8) unsigned char packet_[DPI_LARGE_COPY + kTail];
};

/// Engines with the same protocols: one for each worker, and one for questions, which must not wait for a dissection.
class Engines {
public:
    /// Takes as long as workers + 1 engines. Throws std::runtime_error.
    Engines(const std::string& protocols, unsigned workers);

    unsigned workers() const noexcept { return static_cast<unsigned>(of_workers_.size()); }
    const std::shared_ptr<Engine>& of(unsigned worker) const { return of_workers_.at(worker); }
    const Engine& for_questions() const noexcept { return for_questions_; }

private:
    std::vector<std::shared_ptr<Engine>> of_workers_;
    Engine for_questions_;
};

} // namespace evnf::dpi
