// SPDX-License-Identifier: MIT
/// Random connections through random services against a textbook NAT: what a packet becomes is built anew from its
/// ends, with every checksum from scratch, and compared byte by byte; whole packets, fragments and ICMP errors.
#include <map>
#include <set>

#include "dice.hpp"
#include "lb_lab.hpp"
#include "seed.hpp"

using namespace evnf::test;
using namespace evnf::test::lb;
using evnf::Address;

namespace {

/// Whom a packet is from and to.
struct Ends {
    std::string src;
    std::uint16_t sport = 0;
    std::string dst;
    std::uint16_t dport = 0;

    Ends turned() const { return {dst, dport, src, sport}; }
    auto operator<=>(const Ends&) const = default;
};

struct RandomService {
    bool six = false, udp = false, fullnat = false;
    std::string vip;
    std::uint16_t port = 0;
    std::vector<std::pair<std::string, std::uint16_t>> servers;
};

std::uint16_t random_port(std::mt19937& random)
{
    return static_cast<std::uint16_t>(1 + random() % 65535);
}

/// All of a packet but its ends.
class Rest {
public:
    Rest(std::mt19937& random, bool six, bool udp)
        : six_{six}, udp_{udp}, tags_(random() % 3), tos_(static_cast<std::uint8_t>(random())),
          id_(static_cast<std::uint32_t>(random())), seq_(static_cast<std::uint32_t>(random())),
          no_checksum_(random() % 4 == 0), push_(random() % 2),
          options_(random() % 3 ? "" : std::string(4 * (1 + random() % 10), '\1')),
          tcp_options_(random() % 2 ? "" : std::string(4 * (1 + random() % 10), '\1')),
          payload_(random() % 3 ? random() % 8 : random() % 1200, '\0')
    {
        for (auto& byte : payload_) byte = static_cast<char>(random());
    }

    Frame whole(const Ends& ends) const
    {
        auto layers = link();
        layers.push_back(ip(ends));
        append(layers, l4(ends));
        return build(layers);
    }

    /// Cut behind `sizes` bytes of its L4 part each, of which a first fragment has all of the L4 header.
    std::vector<Frame> fragments(const Ends& ends, unsigned size) const
    {
        const auto bytes = quotable(ends);
        const std::size_t header = six_ ? 40 : 20 + options_.size();
        const std::vector<std::uint8_t> l4_bytes{bytes.begin() + static_cast<std::ptrdiff_t>(header), bytes.end()};
        std::vector<Frame> frames;
        for (std::size_t at = 0; at < l4_bytes.size(); at += size) {
            const auto end = std::min(l4_bytes.size(), at + size);
            const bool more = end < l4_bytes.size();
            auto layers = link();
            const auto offset = static_cast<std::uint16_t>(at / 8);
            if (six_) {
                Ipv6 v6{.src = ends.src, .dst = ends.dst, .traffic_class = tos_};
                layers.push_back(v6);
                layers.push_back(Fragment{.offset = offset, .more = more, .id = id_, .next = next()});
            } else {
                layers.push_back(Ipv4{.src = ends.src, .dst = ends.dst, .tos = tos_, .id = static_cast<std::uint16_t>(id_),
                                      .more_fragments = more, .fragment_offset = offset, .options = options_,
                                      .protocol = protocol()});
            }
            layers.push_back(Raw{{l4_bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                  l4_bytes.begin() + static_cast<std::ptrdiff_t>(end)}});
            frames.push_back(build(layers));
        }
        return frames;
    }

    /// An error about this packet, which quotes so many bytes behind its IP header and extensions.
    Frame error(const std::string& from, const std::string& to, const Ends& quoted, unsigned type, std::size_t l4_bytes) const
    {
        auto bytes = quotable(quoted);
        const std::size_t headers = six_ ? 40 + (options_.empty() ? 0 : 8) : 20 + options_.size();
        bytes.resize(std::min(bytes.size(), headers + l4_bytes));
        auto layers = link();
        if (six_) {
            layers.push_back(Ipv6{.src = from, .dst = to});
            layers.push_back(Icmpv6{.type = static_cast<std::uint8_t>(type), .rest = seq_});
        } else {
            layers.push_back(Ipv4{.src = from, .dst = to, .options = tcp_options_});
            layers.push_back(Icmp{.type = static_cast<std::uint8_t>(type), .code = 1, .rest = seq_});
        }
        layers.push_back(Raw{bytes});
        return build(layers);
    }

private:
    static void append(std::vector<Layer>& layers, const std::vector<Layer>& more)
    {
        layers.insert(layers.end(), more.begin(), more.end());
    }
    std::uint8_t protocol() const { return udp_ ? IPPROTO_UDP : IPPROTO_TCP; }
    /// What a fragment header announces: with an extension header behind, that.
    std::uint8_t next() const { return options_.empty() ? protocol() : std::uint8_t{IPPROTO_DSTOPTS}; }
    std::vector<Layer> link() const
    {
        std::vector<Layer> layers{Eth{}};
        for (unsigned tag = 0; tag < tags_; ++tag) layers.push_back(Vlan{.id = static_cast<std::uint16_t>(7 + tag)});
        return layers;
    }
    Layer ip(const Ends& ends) const
    {
        if (six_) return Ipv6{.src = ends.src, .dst = ends.dst, .traffic_class = tos_};
        return Ipv4{.src = ends.src, .dst = ends.dst, .tos = tos_, .id = static_cast<std::uint16_t>(id_), .options = options_};
    }
    std::vector<Layer> l4(const Ends& ends) const
    {
        std::vector<Layer> layers;
        if (six_ && !options_.empty()) layers.push_back(DestOpts{});
        if (udp_) {
            Udp udp{.sport = ends.sport, .dport = ends.dport};
            if (no_checksum_ && !six_) udp.checksum = 0;
            layers.push_back(udp);
        } else {
            layers.push_back(Tcp{.sport = ends.sport, .dport = ends.dport, .seq = seq_,
                                 .flags = static_cast<std::uint8_t>(push_ ? PSH | ACK : ACK), .options = tcp_options_});
        }
        layers.push_back(Payload{payload_});
        return layers;
    }
    /// From the IP header on.
    std::vector<std::uint8_t> quotable(const Ends& ends) const
    {
        std::vector<Layer> layers{ip(ends)};
        append(layers, l4(ends));
        std::vector<std::uint8_t> bytes;
        for (const auto byte : build(layers)) bytes.push_back(std::to_integer<std::uint8_t>(byte));
        return bytes;
    }

    bool six_, udp_;
    unsigned tags_;
    std::uint8_t tos_;
    std::uint32_t id_, seq_;
    bool no_checksum_, push_;
    std::string options_, tcp_options_, payload_;
};

/// The textbook: a connection's ends on the clients' side and on the servers'.
struct Connection {
    const RandomService* service;
    Ends outside; ///< client -> VIP
    Ends inside;  ///< client, or the pool's address and port -> server
};

class World {
public:
    explicit World(std::mt19937& random) : random_{random}, dice_{random}, services_{draw_services(random)}, pool_{draw_pool(random)}, chain_{yaml()} {}

    void step()
    {
        if (connections_.empty() || dice_.chance(15)) return open();
        const auto& connection = connections_[dice_.below(static_cast<unsigned>(connections_.size()))];
        // Either way a packet arrives with some ends and leaves with others.
        const bool there = dice_.chance(50);
        const Ends arrives = there ? connection.outside : connection.inside.turned();
        const Ends leaves = there ? connection.inside : connection.outside.turned();
        const Rest rest{random_, connection.service->six, connection.service->udp};
        const auto choice = dice_.below(3);
        if (choice == 0)
            whole(rest, arrives, leaves);
        else if (choice == 1)
            fragments(rest, arrives, leaves);
        else
            error(rest, connection.service->six, arrives, leaves);
    }

    std::size_t connections() const { return connections_.size(); }

private:
    static std::vector<RandomService> draw_services(std::mt19937& random)
    {
        std::vector<RandomService> services;
        for (unsigned kind = 0; kind < 8; ++kind) {
            RandomService service{.six = (kind & 1) != 0, .udp = (kind & 2) != 0, .fullnat = (kind & 4) != 0};
            service.vip = random_address(random, service.six);
            service.port = random_port(random);
            for (unsigned i = 0; i < 1 + random() % 3; ++i)
                service.servers.emplace_back(random_address(random, service.six), random_port(random));
            services.push_back(service);
        }
        return services;
    }

    static std::vector<std::string> draw_pool(std::mt19937& random)
    {
        std::vector<std::string> pool;
        for (unsigned i = 0; i < 4; ++i) pool.push_back(random_address(random, i % 2 != 0));
        return pool;
    }

    std::string yaml() const
    {
        std::string text = "ports: [{name: in, chain: [lb]}]\nplugins:\n  lb:\n    nat_pool: [";
        for (const auto& address : pool_) text += "\"" + address + "\", ";
        text += "]\n    services:\n";
        for (std::size_t i = 0; i < services_.size(); ++i) {
            const auto& service = services_[i];
            text += "      - {name: n" + std::to_string(i) + ", vip: \"" + service.vip + "\", port: " +
                    std::to_string(service.port) + ", proto: " + (service.udp ? "udp" : "tcp") +
                    ", mode: " + (service.fullnat ? "fullnat" : "dnat") + ", backends: [";
            for (std::size_t j = 0; j < service.servers.size(); ++j)
                text += "{name: b" + std::to_string(j) + ", address: \"" + service.servers[j].first +
                        "\", port: " + std::to_string(service.servers[j].second) + "}, ";
            text += "]}\n";
        }
        return text;
    }

    /// The balancer is free to choose server and pool port, within what they may be, for each connection once.
    void open()
    {
        const auto& service = services_[dice_.below(static_cast<unsigned>(services_.size()))];
        const Ends outside{random_address(random_, service.six), random_port(random_), service.vip, service.port};
        const Rest rest{random_, service.six, service.udp};
        const auto packet = chain_.run("in", rest.whole(outside)).packet;
        const Ends inside{Address::from(packet.src).text(), ntohs(packet.sport), Address::from(packet.dst).text(),
                          ntohs(packet.dport)};
        const auto same = [&](const std::string& address) { return Address::parse(address)->text(); };
        bool is_server = false, is_pool = false;
        for (const auto& [address, port] : service.servers)
            is_server = is_server || (same(address) == inside.dst && port == inside.dport);
        for (const auto& address : pool_) is_pool = is_pool || same(address) == inside.src;
        REQUIRE(is_server);
        if (service.fullnat) {
            REQUIRE(is_pool);
            REQUIRE(inside.sport >= 1024);
        } else {
            REQUIRE(inside.src == same(outside.src));
            REQUIRE(inside.sport == outside.sport);
        }
        REQUIRE(taken_.emplace(service.udp, inside).second); // or replies could not be told apart
        connections_.push_back({&service, outside, inside});
        whole(rest, outside, inside);
    }

    void whole(const Rest& rest, const Ends& arrives, const Ends& leaves)
    {
        const auto after = rest.whole(leaves);
        REQUIRE(forwarded_as(chain_.run("in", rest.whole(arrives)), after));
        REQUIRE(checksums_ok(after));
    }

    void fragments(const Rest& rest, const Ends& arrives, const Ends& leaves)
    {
        const unsigned size = 8 * (9 + dice_.below(40)); // all of the L4 header and the extension in the first
        const auto before = rest.fragments(arrives, size), after = rest.fragments(leaves, size);
        REQUIRE(before.size() == after.size());
        for (std::size_t i = 0; i < before.size(); ++i) REQUIRE(forwarded_as(chain_.run("in", before[i]), after[i]));
    }

    /// Somebody cannot take what left the balancer: its receiver, or a router on the way.
    void error(const Rest& rest, bool six, const Ends& arrived, const Ends& left)
    {
        const bool from_end = dice_.chance(50);
        const auto router = random_address(random_, six);
        const auto type = six ? dice_.one_of<unsigned>({1, 2, 3, 4}) : dice_.one_of<unsigned>({3, 11, 12});
        std::size_t quoted = dice_.chance(40) ? 8 : 8 + dice_.below(400);
        if (quoted == 17) ++quoted; // half of a TCP checksum, which nobody can follow
        const auto before = rest.error(from_end ? left.dst : router, left.src, left, type, quoted);
        const auto after = rest.error(from_end ? arrived.dst : router, arrived.src, arrived, type, quoted);
        REQUIRE(forwarded_as(chain_.run("in", before), after));
        REQUIRE(checksums_ok(after));
    }

    std::mt19937& random_;
    Dice dice_;
    std::vector<RandomService> services_;
    std::vector<std::string> pool_;
    Chain chain_;
    std::vector<Connection> connections_;
    std::set<std::pair<bool, Ends>> taken_;
};

} // namespace

TEST_CASE("lb: random connections are translated as a textbook NAT does, packets, fragments and errors, both ways")
{
    const auto seed = seed_of_test();
    CAPTURE(seed);
    std::mt19937 random{seed};
    for (int round = 0; round < 10; ++round) {
        World world{random};
        for (int i = 0; i < 500; ++i) world.step();
        CHECK(world.connections() > 30);
    }
}
