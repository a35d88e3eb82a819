// SPDX-License-Identifier: MIT
/// Frames that meet random rules, or nearly do.
#pragma once

#include <deque>
#include <random>
#include <string>
#include <vector>

#include "fw_draft.hpp"
#include "fw_model.hpp"

namespace evnf::test {

/// A well-formed packet of the small world.
Frame random_fw_frame(std::mt19937& random);

/// A frame that meets one of the rules or, in half of the cases, misses it by one field. It need not be the
/// first rule that the frame meets.
Frame fw_frame_near(std::mt19937& random, const std::vector<FwModelRule>& rules);

enum class FwAim {
    rule,      ///< meets all conditions of a rule
    near_miss, ///< all but one, by one bit or by one where there is an order
    spoofed,   ///< all, but from anywhere
    fragment,  ///< as `rule`, a first or later fragment; half of the later ones follow a first that went
               ///< before
    tagged,    ///< as `rule`, with one or two VLAN tags
    random,    ///< of the small world
    cut,       ///< as `rule`, ending too early
    answer,    ///< to one that went before
    further,   ///< another one from the sender of one that went before
    error,     ///< an ICMP error about one that went before, mostly to its sender
};
inline const std::vector<std::pair<FwAim, std::string>> kFwAims{
    {FwAim::rule, "rule"},         {FwAim::near_miss, "near miss"}, {FwAim::spoofed, "spoofed"},
    {FwAim::fragment, "fragment"}, {FwAim::tagged, "tagged"},       {FwAim::random, "random"},
    {FwAim::cut, "cut"},           {FwAim::answer, "answer"},       {FwAim::further, "further"},
    {FwAim::error, "error"}};

struct FwShot {
    Frame frame;
    std::string port;        ///< that it comes in by
    const FwModelRule* rule; ///< that it is aimed at, if any
};

/// Packets at a firewall with these rules, to which it keeps a reference.
class FwTraffic {
public:
    FwTraffic(std::mt19937& random, const std::vector<FwModelRule>& rules);
    FwTraffic(std::mt19937&, std::vector<FwModelRule>&&) = delete;

    FwShot next(FwAim aim);

private:
    struct Sent {
        Draft draft;
        Frame frame;
    };

    Draft draft(FwAim aim, const FwModelRule& rule);
    Draft fragment(const FwModelRule& rule);
    Draft answer();
    Draft further();
    Draft error();
    std::string port_for(const FwModelRule* rule);

    Dice dice_;
    const std::vector<FwModelRule>& rules_;
    std::deque<Sent> latest_; ///< few, since nothing is remembered for ever
};

} // namespace evnf::test
