// SPDX-License-Identifier: MIT
/// The load balancer's connections beside a plain model of them, packet by packet at random.
#include <map>
#include <optional>

#include "lb_lab.hpp"

using namespace evnf::test;
using namespace evnf::test::lb;
using evnf::Address;

namespace {

constexpr std::uint32_t kNumber = 1000, kFarNumber = 1u << 30;

struct Said {
    bool open = false, fin = false, rst = false, acknowledged = false;

    void hear(unsigned flags)
    {
        rst = flags & RST;
        fin = fin || flags & FIN;
        acknowledged = acknowledged || flags & ACK;
        open = open || (flags & (SYN | ACK)) != SYN;
    }
};

/// A connection by the client's port.
struct Modelled {
    int server;
    bool answered = false, in_table = false;
    Said client, other;

    std::string state() const
    {
        if (!in_table) return "syn";
        if (client.rst || other.rst) return "closed";
        if (client.fin && other.fin) return "closed";
        return client.fin || other.fin ? "fin" : "established";
    }
};

/// What the documentation says, without time and sizes.
class Model {
public:
    int selected = 1; ///< the server that new connections get

    /// The server that the client's packet goes to.
    int from_client(int port, unsigned flags, bool far)
    {
        auto found = connections_.find(port);
        const bool begins = (flags & (SYN | ACK)) == SYN;
        if (found != connections_.end() && found->second.in_table) {
            auto& connection = found->second;
            if (!begins || connection.state() == "established") {
                if (!(flags & RST && far && connection.other.acknowledged)) connection.client.hear(flags);
                return connection.server;
            }
            connections_.erase(found);
            found = connections_.end();
        }
        const int server = found == connections_.end() ? selected : found->second.server;
        if (flags & RST)
            connections_.erase(port);
        else if (found == connections_.end())
            connections_.emplace(port, Modelled{server});
        else if (found->second.answered && flags & ACK && !(flags & SYN))
            enter_table(found->second, flags);
        return server;
    }

    /// Whether the packet is of a connection, and so translated.
    bool from_server(int server, int port, unsigned flags, bool far)
    {
        const auto found = connections_.find(port);
        if (found == connections_.end() || found->second.server != server) return false;
        auto& connection = found->second;
        connection.answered = true;
        if (connection.in_table) {
            if (!(flags & RST && far && connection.client.acknowledged)) connection.other.hear(flags);
        } else if (flags & RST) {
            connections_.erase(found);
        }
        return true;
    }

    std::string state(int port) const
    {
        const auto found = connections_.find(port);
        return found == connections_.end() ? "none" : found->second.state();
    }

private:
    static void enter_table(Modelled& connection, unsigned flags)
    {
        connection.in_table = true;
        connection.client.open = connection.other.open = true;
        connection.client.hear(flags);
    }

    std::map<int, Modelled> connections_;
};

struct World {
    bool v6;

    std::string vip() const { return v6 ? "2001:db8:2::2" : "10.2.0.2"; }
    std::string client() const { return v6 ? "2001:db8:1::2" : "10.1.0.2"; }
    std::string server(int number) const { return (v6 ? "2001:db8:3::" : "10.3.0.") + std::to_string(number); }

    Frame frame(const std::string& from, const std::string& to, const Tcp& tcp) const
    {
        return v6 ? packet(Eth{}, Ipv6{.src = from, .dst = to}, tcp) : packet(Eth{}, Ipv4{.src = from, .dst = to}, tcp);
    }

    std::string config(int selected) const
    {
        return "ports: [{name: in, chain: [lb]}, {name: out, chain: [lb]}]\n"
               "plugins: {lb: {services: [{name: web, vip: \"" + vip() + "\", port: 80, proto: tcp, backends: [{name: s, address: \"" +
               server(selected) + "\"}]}]}}\n";
    }
};

} // namespace

TEST_CASE("lb: random packets of clients and servers leave every connection as a plain model says")
{
    static const std::vector<std::uint8_t> flags{SYN, SYN, SYN | ACK, ACK, ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK};
    const auto seed = std::random_device{}();
    std::mt19937 random{seed};
    for (const bool v6 : {false, true}) {
        const World world{v6};
        Model model;
        Chain chain{world.config(model.selected)};
        for (int i = 0; i < 1500; ++i) {
            const int port = 1000 + static_cast<int>(random() % 4), server = 1 + static_cast<int>(random() % 2);
            const bool far = random() % 2, from_client = random() % 2;
            const auto said = flags[random() % flags.size()];
            const auto client_port = static_cast<std::uint16_t>(port);
            const std::uint32_t seq = said & RST && far ? kFarNumber : kNumber;
            INFO("seed " << seed << " packet " << i << (v6 ? " v6" : " v4") << (from_client ? " client " : " server ") << server << " port "
                         << port << " flags " << int{said} << (far ? " far" : ""));
            if (random() % 50 == 0) chain.reload(world.config(model.selected = 3 - model.selected));
            if (from_client) {
                const auto result = chain.run("in", world.frame(world.client(), world.vip(), {.sport = client_port, .dport = 80, .seq = seq, .ack = kNumber, .flags = said}));
                REQUIRE(destination(result) == world.server(model.from_client(port, said, far)) + " 80");
            } else {
                const auto result = chain.run("out", world.frame(world.server(server), world.client(), {.sport = 80, .dport = client_port, .seq = seq, .ack = kNumber, .flags = said}));
                const bool translated = model.from_server(server, port, said, far);
                REQUIRE(Address::from(result.packet.src).text() == (translated ? world.vip() : world.server(server)));
            }
            REQUIRE(state(chain, client_port) == model.state(port));
        }
    }
}
