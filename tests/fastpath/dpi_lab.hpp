// SPDX-License-Identifier: MIT
/// A chain with dpi: connections through it, what it tells of flows, and its flow table, through the plugin's own classes.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../../plugins/dpi/expiry.hpp"
#include "../../plugins/dpi/flow_table.hpp"
#include "../../plugins/dpi/inspector.hpp"
#include "catch.hpp"
#include "chain.hpp"
#include "packet.hpp"

namespace evnf::test::dpi_lab {

/// The maps of the chain's dpi, to look at them with the plugin's own classes.
class DpiMaps final : public evnf::Maps {
public:
    explicit DpiMaps(Chain& chain) : chain_{chain} {}
    evnf::MapRef get(const std::string& name) const override { return chain_.map("dpi", name); }

private:
    Chain& chain_;
};

/// The plugin's own view of the chain's flow table.
class DpiTable {
public:
    explicit DpiTable(Chain& chain, evnf::dpi::Offload offload = {})
        : maps_{chain}, table_{maps_, std::make_shared<evnf::dpi::Apps>(maps_), std::move(offload), 250}
    {
    }
    evnf::dpi::FlowTable* operator->() { return &table_; }
    evnf::dpi::FlowTable& operator*() { return table_; }

private:
    DpiMaps maps_;
    evnf::dpi::FlowTable table_;
};

struct DpiEntry {
    dpi_flow flow;
    dpi_head head;
};

/// What has not ended.
inline std::vector<DpiEntry> entries(Chain& chain)
{
    std::vector<DpiEntry> all;
    DpiTable{chain}->for_each([&](const dpi_flow& flow, dpi_head head) {
        if (!(head & DPI_ENDED)) all.push_back({flow, head});
    });
    return all;
}

inline std::string config(const std::string& settings = "")
{
    return "ports: [{name: in, chain: [dpi]}, {name: out, chain: [dpi]}]\nplugins: {dpi: {" + settings + "}}\n";
}

/// A TCP connection between 10.1.0.2:1234 and 10.2.0.2.
struct Connection {
    Chain& chain;
    std::uint16_t server_port = 80;
    std::uint32_t client_seq = 1000, server_seq = 5000;

    Result client(std::uint8_t flags, const std::string& text = "")
    {
        const Tcp tcp{.sport = 1234, .dport = server_port, .seq = client_seq, .ack = server_seq, .flags = flags};
        client_seq += static_cast<std::uint32_t>(text.size()) + ((flags & (SYN | FIN)) ? 1 : 0);
        return chain.run("in", packet(Eth{}, Ipv4{}, tcp, Payload{text}));
    }
    Result server(std::uint8_t flags, const std::string& text = "")
    {
        const Tcp tcp{.sport = server_port, .dport = 1234, .seq = server_seq, .ack = client_seq, .flags = flags};
        server_seq += static_cast<std::uint32_t>(text.size()) + ((flags & (SYN | FIN)) ? 1 : 0);
        return chain.run("out", packet(Eth{}, Ipv4{.src = "10.2.0.2", .dst = "10.1.0.2"}, tcp, Payload{text}));
    }
    void handshake()
    {
        client(SYN);
        server(SYN | ACK);
        client(ACK);
    }
};

/// Those that have not ended.
inline boost::json::array flows(Chain& chain)
{
    boost::json::array alive;
    const auto all = chain.query("dpi", "flows");
    for (const auto& flow : all.as_array())
        if (!flow.at("ended").as_bool()) alive.push_back(flow);
    return alive;
}

/// The only flow, as `evnfctl dpi flows` shows it.
inline boost::json::object the_flow(Chain& chain)
{
    const auto all = flows(chain);
    REQUIRE(all.size() == 1);
    return all[0].as_object();
}

inline dpi_flow the_entry(Chain& chain)
{
    const auto all = entries(chain);
    REQUIRE(all.size() == 1);
    return all[0].flow;
}

inline std::string text(const boost::json::object& object, const char* key)
{
    return std::string{object.at(key).as_string()};
}

inline std::uint64_t number(const boost::json::object& object, const char* key)
{
    return object.at(key).to_number<std::uint64_t>();
}

/// What `evnfctl dpi apps` says of an application; empty where it does not know it.
inline boost::json::object app(Chain& chain, const std::string& name)
{
    const auto apps = chain.query("dpi", "apps");
    for (const auto& one : apps.as_array())
        if (one.at("app").as_string() == name) return one.as_object();
    return {};
}

inline std::string explained(const Result& result, const char* key)
{
    return text(result.plugins.at("dpi").as_object(), key);
}

using Ended = std::vector<std::pair<dpi_flow, evnf::dpi::FlowEnd>>;

/// One pass of expiry, `later` jiffies after the last packet of the flows that are there: what ended.
inline Ended expire(Chain& chain, std::uint64_t later, const evnf::dpi::IdleTimeouts& timeouts)
{
    Ended all;
    std::uint64_t last = 0;
    for (const auto& entry : entries(chain)) last = std::max<std::uint64_t>(last, (entry.head & DPI_SEEN) << DPI_SEEN_SHIFT);
    DpiTable table{chain};
    evnf::dpi::Inspector inspector{250};
    inspector.use(std::make_shared<evnf::dpi::Engines>("", 1), [](const auto&) { return true; });
    evnf::dpi::Expiry expiry;
    const auto note = [&](const dpi_flow& flow, std::uint64_t, const evnf::dpi::Knowledge&, evnf::dpi::FlowEnd why) { all.emplace_back(flow, why); };
    while (!expiry.part(*table, inspector, timeouts, last + later, note)) {}
    return all;
}

} // namespace evnf::test::dpi_lab
