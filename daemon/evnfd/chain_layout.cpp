// SPDX-License-Identifier: MIT
#include "chain_layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace evnf {

namespace {

Chain& find_or_add(std::vector<Chain>& chains, const std::vector<std::string>& stages, bool tap)
{
    const auto found = std::find_if(chains.begin(), chains.end(), [&](const Chain& chain) { return chain.stages == stages && chain.tap == tap; });
    if (found != chains.end()) return *found;
    Chain chain;
    chain.stages = stages;
    chain.tap = tap;
    // A forwarder stands behind each chain.
    chain.base = chains.empty() ? 0 : chains.back().last() + 1;
    if (chain.last() >= EVNF_MAX_SLOTS)
        throw std::length_error{fmt::format("the chains have more than {} stages in all: use fewer different ones", +EVNF_MAX_SLOTS)};
    return chains.emplace_back(std::move(chain));
}

void add_reentries(Chain& chain, std::vector<evnf_reentry>& reentries, const LayoutInputs& inputs)
{
    chain.reentries.resize(chain.stages.size());
    for (std::uint32_t i = 0; i + 1 < chain.stages.size(); ++i) {
        if (!inputs.leaves_chain(chain.stages[i])) continue;
        chain.reentries[i] = static_cast<std::uint32_t>(reentries.size());
        chain.at_tc = true;
        for (const auto& port : chain.ports)
            reentries.push_back({chain.base + i + 1, static_cast<__u16>(inputs.port_index(port)),
                                 static_cast<__u16>(chain.ordinal(port))});
    }
}

} // namespace

std::uint32_t Chain::ordinal(const std::string& port) const
{
    return static_cast<std::uint32_t>(std::find(ports.begin(), ports.end(), port) - ports.begin());
}

const Chain& ChainLayout::of(const std::string& port) const
{
    return *std::find_if(chains.begin(), chains.end(), [&](const Chain& chain) {
        return std::find(chain.ports.begin(), chain.ports.end(), port) != chain.ports.end();
    });
}

ChainLayout lay_out(const Settings& settings, const LayoutInputs& inputs)
{
    ChainLayout layout;
    for (const auto& port : settings.ports) {
        Chain& chain = find_or_add(layout.chains, port.chain, port.tap);
        chain.ports.push_back(port.name);
        chain.at_xdp |= inputs.at_xdp(port);
        chain.at_tc |= inputs.at_tc(port);
    }
    if (settings.mode == ForwardingMode::route)
        for (auto& chain : layout.chains)
            if (!chain.tap) add_reentries(chain, layout.reentries, inputs);
    for (auto& chain : layout.chains) chain.reentries.resize(chain.stages.size());
    if (layout.reentries.size() > EVNF_MAX_REENTRIES)
        throw std::length_error{fmt::format("packets can leave the ports' chains in {} places, of which {} can be told apart: "
                                            "let fewer ports have chains with stages behind one that leaves packets to netfilter",
                                            layout.reentries.size(), +EVNF_MAX_REENTRIES)};
    return layout;
}

} // namespace evnf
