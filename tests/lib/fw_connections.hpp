// SPDX-License-Identifier: MIT
/// Connections as fw's documentation tells them, without any table's size or time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "fw_model.hpp"

namespace evnf::test {

class FwConnections {
public:
    /// With `loose`, a TCP connection may begin with any segment but a RST.
    explicit FwConnections(bool loose = false) : loose_{loose} {}

    /// What the packet in `frame` is to the connections: new, established, related or invalid. A later fragment
    /// gets the L4 header of its first, where that came before.
    std::string state_of(const Frame& frame, Parsed& packet);

    /// The packet of that state was let through.
    void remember(const Parsed& packet, const std::string& state);

private:
    using End = std::pair<std::string, unsigned>; ///< address and port; of an ICMP query, see ends()
    using Key = std::tuple<unsigned, End, End>;   ///< protocol, and the ends in their order
    using FragmentKey = std::tuple<std::string, std::string, unsigned, unsigned>;
    struct Said {
        bool any = false, fin = false, rst = false;
        std::optional<unsigned> acknowledged; ///< the latest
    };
    using Connection = std::map<End, Said>;

    static std::pair<End, End> ends(const Parsed& packet);
    static Key key(const Parsed& packet);
    bool recall_first(Parsed& packet);
    bool is_over(const Parsed& packet) const;
    std::string state_of_first(const Parsed& packet) const;
    std::string state_within(const Parsed& packet);
    bool is_related(const Frame& frame, const Parsed& packet) const;

    bool loose_;
    std::map<Key, Connection> connections_;
    std::map<FragmentKey, Parsed> first_fragments_;
};

/// What became of a packet, and why.
struct FwDecision {
    const FwModelRule* rule; ///< null: none matched, and the default drops
    Parsed packet;
    std::string state; ///< empty where connections are not tracked
};

/// Rules and the connections that they ask about.
class FwStateful {
public:
    /// Keeps a reference to the rules.
    explicit FwStateful(const std::vector<FwModelRule>& rules, bool loose = false);
    FwStateful(std::vector<FwModelRule>&&, bool = false) = delete;

    /// A well-formed frame that came in at `port`.
    FwDecision decide(const Frame& frame, const std::string& port);

private:
    const std::vector<FwModelRule>& rules_;
    bool tracks_;
    FwConnections connections_;
};

} // namespace evnf::test
