// SPDX-License-Identifier: MIT
#include "views.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <boost/json/object.hpp>
#include <cmath>
#include <map>
#include <tuple>

#include <fmt/format.h>

namespace evnf::lb {

namespace json = boost::json;

namespace {

template <class Counters>
std::uint64_t total(const std::vector<Counters>& cpus, __u64 Counters::*counter)
{
    std::uint64_t sum = 0;
    for (const auto& cpu : cpus) sum += cpu.*counter;
    return sum;
}

std::string_view text(BackendState state)
{
    switch (state) {
        case BackendState::active:
            return "up";
        case BackendState::drain:
            return "drain";
        case BackendState::down:
            return "down";
    }
    return "";
}

/// Whose connection it is, as configured now.
class Owners {
public:
    explicit Owners(const Settings& settings)
    {
        for (const auto& service : settings.services) {
            services_.emplace(std::tuple{service.vip, service.port, service.protocol}, &service);
            for (const auto& backend : service.backends)
                backends_.emplace(std::tuple{&service, backend.address, backend.port}, &backend);
        }
    }

    const Service* service(const Connection& connection) const
    {
        const auto found = services_.find({Address::from(connection.ends.vip), ntohs(connection.ends.vip_port), connection.protocol});
        return found == services_.end() ? nullptr : found->second;
    }

    const Backend* backend(const Service* service, const Connection& connection) const
    {
        const auto found = backends_.find({service, Address::from(connection.ends.server), ntohs(connection.ends.server_port)});
        return found == backends_.end() ? nullptr : found->second;
    }

private:
    std::map<std::tuple<Address, std::uint16_t, std::uint8_t>, const Service*> services_;
    std::map<std::tuple<const Service*, Address, std::uint16_t>, const Backend*> backends_;
};

json::object show_standing(const Service& service, const Backend& backend, const Standing& standing)
{
    return {{"service", service.name},
            {"name", backend.name},
            {"address", backend.address.text()},
            {"port", backend.port},
            {"weight", backend.weight},
            {"effective_weight", std::lround(standing.weight)},
            {"slots", standing.slots},
            {"state", text(standing.state)}};
}

json::object show_backend(const Live& live, const HealthChecks& health, const Feedback& feedback, const Service& service,
                          const Backend& backend, std::uint64_t connections)
{
    const auto standing = live.steering->standing(service, backend);
    const auto counters = live.maps->get("lb_counters").find_per_cpu<lb_counters>(standing.index);
    auto row = show_standing(service, backend, standing);
    if (service.health.type != Health::Type::none) {
        row["health"] = health.result(service, backend);
        row["health_changes"] = standing.steered.turns;
    }
    row["moved_slots"] = standing.steered.moved;
    row["connections"] = connections;
    row["packets"] = total(counters, &lb_counters::packets);
    row["bytes"] = total(counters, &lb_counters::bytes);
    row["load"] = number_or_null(feedback.load(service, backend));
    return row;
}

/// "10.3.1.2 80"
std::string text(const evnf_address& address, __be16 port)
{
    return fmt::format("{} {}", Address::from(address).text(), ntohs(port));
}

/// Services and backends that are not configured any more appear by their addresses.
json::object show_connection(const Owners& owners, const Connection& connection, unsigned hz)
{
    const auto& ends = connection.ends;
    const auto* service = owners.service(connection);
    const auto* backend = owners.backend(service, connection);
    return {{"service", service ? service->name : text(ends.vip, ends.vip_port)},
            {"backend", backend ? backend->name : text(ends.server, ends.server_port)},
            {"proto", connection.protocol == IPPROTO_TCP ? "tcp" : "udp"},
            {"client", Address::from(ends.client).text()},
            {"client_port", ntohs(ends.client_port)},
            {"state", name_of(connection.state)},
            {"age_s", connection.age / hz},
            {"idle_s", connection.idle / hz}};
}

} // namespace

json::array show_standing(const Live& live, std::string_view service, std::string_view backend)
{
    for (const auto& candidate : live.settings->services)
        for (const auto& one : candidate.backends)
            if (candidate.name == service && one.name == backend)
                return {show_standing(candidate, one, live.steering->standing(candidate, one))};
    return {};
}

std::vector<MetricFamily> backend_metrics(const Live& live)
{
    using enum MetricType;
    MetricFamily packets{"backend_packets_total", "Packets of the backend's connections, both directions.", counter, {}};
    MetricFamily bytes{"backend_bytes_total", "Bytes of the backend's connections, both directions.", counter, {}};
    MetricFamily up{"backend_up", "Whether the backend takes new connections.", gauge, {}};
    MetricFamily weight{"backend_effective_weight", "Weight in force, of health and feedback too.", gauge, {}};
    for (const auto& service : live.settings->services)
        for (const auto& backend : service.backends) {
            const auto standing = live.steering->standing(service, backend);
            const auto counters = live.maps->get("lb_counters").find_per_cpu<lb_counters>(standing.index);
            const auto row = show_standing(service, backend, standing);
            const std::vector<std::pair<std::string, std::string>> labels{{"service", service.name}, {"backend", backend.name}};
            packets.samples.push_back({labels, static_cast<double>(total(counters, &lb_counters::packets))});
            bytes.samples.push_back({labels, static_cast<double>(total(counters, &lb_counters::bytes))});
            up.samples.push_back({labels, row.at("state") == "up" ? 1. : 0.});
            weight.samples.push_back({labels, row.at("effective_weight").to_number<double>()});
        }
    return {packets, bytes, up, weight};
}

json::array show_backends(const Live& live, const HealthChecks& health, const Feedback& feedback, std::uint64_t now)
{
    const Owners owners{*live.settings};
    std::map<const Backend*, std::uint64_t> connections;
    live.connections.for_each(now, [&](const Connection& connection) {
        ++connections[owners.backend(owners.service(connection), connection)];
    });
    json::array rows;
    for (const auto& service : live.settings->services)
        for (const auto& backend : service.backends)
            rows.push_back(show_backend(live, health, feedback, service, backend, connections[&backend]));
    return rows;
}

json::array show_connections(const Live& live, std::uint64_t now, unsigned hz)
{
    const Owners owners{*live.settings};
    json::array rows;
    live.connections.for_each(
        now, [&](const Connection& connection) { rows.push_back(show_connection(owners, connection, hz)); });
    return rows;
}

json::object show_tracking(const Live& live, std::uint64_t now)
{
    const auto counters = live.maps->get("lb_tracking").find_per_cpu<lb_tracking>(std::uint32_t{0});
    const auto [kept, others] = live.connections.count(now);
    const std::uint64_t sets = live.maps->get("lb_connections").info().max_entries;
    return {{"connections", kept},
            {"openings", others},
            {"max_connections", live.settings->max_connections},
            {"places", sets * LB_WAYS},
            {"bytes", sets * sizeof(lb_set)},
            {"opened", total(counters, &lb_tracking::opened)},
            {"kept", total(counters, &lb_tracking::kept)},
            {"replaced", total(counters, &lb_tracking::replaced)},
            {"over_limit", total(counters, &lb_tracking::over_limit)},
            {"table_full", total(counters, &lb_tracking::table_full)},
            {"unrecorded", total(counters, &lb_tracking::unrecorded)}};
}

} // namespace evnf::lb
