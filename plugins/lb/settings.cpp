// SPDX-License-Identifier: MIT
#include "settings.hpp"

#include <netinet/in.h>

#include <arpa/inet.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include <fmt/format.h>
#include <evnf/slots.hpp>

#include "health_settings.hpp"
#include "lb_shared.h"
#include "selection.hpp"

namespace evnf::lb {

namespace {

constexpr std::uint32_t kMaxWeight = 10'000;
constexpr std::uint32_t kMinSlots = 4096;
constexpr std::uint32_t kMaxConnections = 10'000'000;
constexpr std::uint64_t kMaxNewFlows = 100'000'000;

/// Names become "service/backend" in the names map and in saved tables.
std::string read_name(Map& map, std::size_t longest)
{
    const Node node = map.required("name");
    auto name = node.string();
    if (name.find('/') != std::string::npos) node.error("must not contain '/'");
    if (name.size() > longest) node.error(fmt::format("must not be longer than {} characters", longest));
    return name;
}

std::uint16_t read_port(const Node& node)
{
    return static_cast<std::uint16_t>(node.integer(1, 65535));
}

Backend read_backend(const Node& node, const Service& service)
{
    Map map{node};
    Backend backend;
    backend.name = read_name(map, kSlotNameSize - 2 - std::min(service.name.size(), kSlotNameSize - 2));
    const Node address = map.required("address");
    backend.address = address.address();
    if (address.is_scalar() && backend.address.is_v4() != service.vip.is_v4())
        address.error(fmt::format("must be an {} address as the service's vip is",
                                  service.vip.is_v4() ? "IPv4" : "IPv6"));
    const auto port = map.optional("port");
    backend.port = port ? read_port(*port) : service.port;
    if (const auto weight = map.optional("weight"))
        backend.weight = static_cast<std::uint32_t>(weight->integer(0, kMaxWeight));
    if (const auto state = map.optional("state"))
        backend.state = state->one_of<BackendState>(
            {{"active", BackendState::active}, {"drain", BackendState::drain}, {"down", BackendState::down}});
    if (service.feedback) backend.load_source = service.feedback->source;
    if (const auto feedback = map.optional("feedback")) {
        if (!service.feedback) feedback->error("is there, but the service has no feedback");
        backend.load_source = read_load_source(*feedback, backend.load_source);
    }
    map.done();
    return backend;
}

/// A weight so small beside the others that it gives no slot means a server without traffic.
void warn_of_empty_shares(const Node& list, const Service& service)
{
    std::vector<std::uint32_t> weights;
    for (const auto& backend : service.backends) weights.push_back(backend.effective_weight());
    const auto shares = apportion(weights, service.slots);
    for (std::size_t i = 0; i < weights.size(); ++i)
        if (weights[i] > 0 && shares[i] == 0)
            list.warning(
                fmt::format("backend '{}' gets no traffic: its weight is too small a share of {} slots",
                            service.backends[i].name, service.slots));
}

void read_backends(const Node& list, Service& service)
{
    std::set<std::string> names;
    std::set<std::pair<Address, std::uint16_t>> addresses;
    for (const Node& node : list.list()) {
        auto backend = read_backend(node, service);
        if (!backend.name.empty() && !names.insert(backend.name).second)
            node.error(fmt::format("another backend is named '{}'", backend.name));
        if (backend.address != Address{} && !addresses.emplace(backend.address, backend.port).second)
            node.error(fmt::format("another backend of '{}' has this address and port", service.name));
        service.backends.push_back(std::move(backend));
    }
    if (list.present() && service.backends.empty()) list.error("must name at least one backend");
    warn_of_empty_shares(list, service);
}

Mode read_mode(const Node& node)
{
    return node.one_of<Mode>({{"dnat", Mode::dnat}, {"fullnat", Mode::fullnat}, {"local", Mode::local}});
}

/// The proxy has its own servers, and its own way to choose among them.
void refuse_balancing(Map& map, Service& service)
{
    for (const auto key : {"affinity", "adopt", "slots", "backends", "health", "when_all_down", "when_down", "feedback"})
        if (const auto value = map.optional(key)) value->error("is the proxy's affair where the mode is local");
    service.slots = 0;
}

bool read_adopt(const Node& node, const Service& service)
{
    const bool adopt = node.boolean();
    if (adopt && service.mode == Mode::fullnat)
        node.error("does not go with mode fullnat: the server's packets do not tell the client");
    return adopt;
}

bool read_reset_when_down(const Node& node, const Service& service)
{
    const bool reset = node.one_of<bool>({{"move", false}, {"reset", true}});
    if (reset && service.protocol == IPPROTO_UDP) node.error("reset is for TCP: nothing tells a client of UDP that its server is gone");
    return reset;
}

void read_balancing(Map& map, Service& service)
{
    if (const auto affinity = map.optional("affinity"))
        service.by_source = affinity->one_of<bool>({{"none", false}, {"source", true}});
    if (const auto adopt = map.optional("adopt")) service.adopt = read_adopt(*adopt, service);
    if (const auto slots = map.optional("slots"))
        service.slots = static_cast<std::uint32_t>(slots->integer(kMinSlots, LB_MAX_SLOTS));
    if (const auto feedback = map.optional("feedback")) service.feedback = read_feedback(*feedback);
    read_backends(map.required("backends"), service);
    if (const auto health = map.optional("health")) service.health = read_health(*health);
    if (const auto when = map.optional("when_all_down"))
        service.when_all_down = when->one_of<WhenAllDown>({{"keep", WhenAllDown::keep}, {"drop", WhenAllDown::drop}});
    if (const auto when = map.optional("when_down")) service.reset_when_down = read_reset_when_down(*when, service);
}

Service read_service(const Node& node)
{
    Map map{node};
    Service service;
    service.name = read_name(map, sizeof(lb_saved_key::service) - 1);
    service.vip = map.required("vip").address();
    service.port = read_port(map.required("port"));
    service.protocol =
        map.required("proto").one_of<std::uint8_t>({{"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}});
    if (const auto mode = map.optional("mode")) service.mode = read_mode(*mode);
    if (service.mode == Mode::local)
        refuse_balancing(map, service);
    else
        read_balancing(map, service);
    map.done();
    return service;
}

/// Who takes a server's packets for replies must know of which service.
void check_adoption(const Node& list, const std::vector<Service>& services)
{
    std::map<std::tuple<Address, std::uint16_t, std::uint8_t>, std::string> servers;
    for (const auto& service : services)
        for (const auto& backend : service.backends) {
            if (!service.adopt) continue;
            const auto [known, is_new] = servers.emplace(std::tuple{backend.address, backend.port, service.protocol}, service.name);
            if (!is_new)
                list.error(fmt::format("services '{}' and '{}' both adopt and share the server {} port {}: its packets could be either's",
                                       known->second, service.name, backend.address.text(), backend.port));
        }
}

std::vector<Service> read_services(const Node& list)
{
    std::vector<Service> services;
    std::set<std::string> names;
    std::map<std::tuple<Address, std::uint16_t, std::uint8_t>, std::string> places;
    std::map<Address, std::pair<bool, std::string>> modes;
    std::size_t backends = 0;
    for (const Node& node : list.list()) {
        auto service = read_service(node);
        if (!service.name.empty() && !names.insert(service.name).second)
            node.error(fmt::format("another service is named '{}'", service.name));
        const auto [place, is_new] =
            places.emplace(std::tuple{service.vip, service.port, service.protocol}, service.name);
        if (!is_new && service.vip != Address{})
            node.error(fmt::format("has the vip, port and proto of service '{}'", place->second));
        const auto [mode, is_first] = modes.emplace(service.vip, std::pair{service.mode == Mode::local, service.name});
        if (!is_first && service.vip != Address{} && mode->second.first != (service.mode == Mode::local))
            node.error(fmt::format("has the vip of service '{}', and only one of them has mode local: that vip is this machine's "
                                   "address, any other's is not", mode->second.second));
        backends += service.backends.size();
        services.push_back(std::move(service));
    }
    check_adoption(list, services);
    if (services.size() > LB_MAX_SERVICES) list.error(fmt::format("more than {} services", +LB_MAX_SERVICES));
    if (backends > LB_MAX_BACKENDS) list.error(fmt::format("more than {} backends in all", +LB_MAX_BACKENDS));
    return services;
}

/// Calls `add` with each address of the prefix.
void for_each_address(const Prefix& prefix, const std::function<void(const Address&)>& add)
{
    Address address = prefix.address;
    for (std::uint32_t i = 0, count = 1u << (128 - prefix.length); i < count; ++i) {
        address.raw.words[3] = htonl(ntohl(prefix.address.raw.words[3]) + i);
        add(address);
    }
}

/// Addresses and prefixes, each address once.
std::vector<Address> read_pool(const Node& list, const Settings& settings)
{
    std::set<Address> taken, four, six;
    for (const auto& service : settings.services) {
        taken.insert(service.vip);
        for (const auto& backend : service.backends) taken.insert(backend.address);
    }
    for (const Node& node : list.list()) {
        const auto known = node.problems().errors().size();
        const auto prefix = node.prefix();
        if (node.problems().errors().size() > known) continue;
        if (prefix.length < 128 - 10) {
            node.error(fmt::format("more than {} addresses", +LB_MAX_POOL));
            continue;
        }
        for_each_address(prefix, [&](const Address& address) {
            if (taken.contains(address))
                node.error(fmt::format("{} is a VIP's or a backend's address", address.text()));
            if (!(address.is_v4() ? four : six).insert(address).second)
                node.error(fmt::format("{} is in the pool twice", address.text()));
        });
    }
    std::vector<Address> pool{four.begin(), four.end()};
    pool.insert(pool.end(), six.begin(), six.end());
    if (pool.size() > LB_MAX_POOL) list.error(fmt::format("more than {} addresses", +LB_MAX_POOL));
    return pool;
}

/// A service of `fullnat` has somewhere to take its addresses from.
void check_pool(const Node& services, const Settings& settings)
{
    for (const auto& service : settings.services) {
        const auto same_family = [&](const Address& address) { return address.is_v4() == service.vip.is_v4(); };
        if (service.mode == Mode::fullnat && std::ranges::none_of(settings.nat_pool, same_family))
            services.error(fmt::format("service '{}' has mode fullnat: 'nat_pool' must have {} addresses for it",
                                       service.name, service.vip.is_v4() ? "IPv4" : "IPv6"));
    }
}

Timeouts read_timeouts(const Node& node)
{
    using namespace std::chrono_literals;
    Map map{node};
    Timeouts timeouts;
    const auto read = [&](std::string_view key, std::chrono::milliseconds& timeout) {
        if (const auto value = map.optional(key)) timeout = value->duration(1s, 168h);
    };
    read("syn", timeouts.syn);
    read("established", timeouts.established);
    read("fin", timeouts.fin);
    read("udp", timeouts.udp);
    map.done();
    return timeouts;
}

} // namespace

Settings read_settings(const Node& config)
{
    Settings settings;
    Map map{config};
    const Node services = map.required("services");
    settings.services = read_services(services);
    if (!config.present()) config.error("'services' is missing");
    if (const auto timeouts = map.optional("timeouts")) settings.timeouts = read_timeouts(*timeouts);
    if (const auto most = map.optional("max_connections"))
        settings.max_connections = static_cast<std::uint32_t>(most->integer(1, kMaxConnections));
    if (const auto pool = map.optional("nat_pool")) settings.nat_pool = read_pool(*pool, settings);
    check_pool(services, settings);
    if (const auto limit = map.optional("new_flow_limit"))
        settings.new_flow_limit = static_cast<std::uint32_t>(limit->rate(1, kMaxNewFlows));
    if (const auto seed = map.optional("seed")) settings.seed = seed->string();
    map.done();
    return settings;
}

} // namespace evnf::lb
