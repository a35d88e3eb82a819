// SPDX-License-Identifier: MIT
/// Random packets about what a file of iptables-save speaks of, each the only one of its flow:
///     evnf_verdicts write --rules FILE --to MAC --count N --seed N OUT.pcap
/// and which of them a router lets through; prints for each packet of the capture, in order, forward or drop:
///     evnf_verdicts send --from NAMESPACE --at NAMESPACE IN.pcap
/// Both namespaces have an eth0: frames go out of the one, and what the router passes on arrives at the other.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sys/socket.h>

#include <boost/program_options.hpp>
#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <thread>
#include <tuple>
#include <vector>

#include "packet.hpp"
#include "skeleton.hpp"

using namespace evnf;
using namespace evnf::test;
using namespace std::chrono_literals;

namespace {

/// The last bytes of every packet: a mark, and its number.
constexpr std::uint32_t kMark = 0x65566e46;
constexpr std::size_t kTrailer = 8;
/// The chunk that opens an association (RFC 9260, section 3.3.2); the trailer stands in it as a parameter.
const std::vector<std::uint8_t> kSctpInit{1, 0, 0, 20 + kTrailer, 0, 0, 0, 1, 0, 0, 255, 255, 0, 1, 0, 1, 0, 0, 0, 1};
/// Smaller than any queue on the way.
constexpr std::size_t kBatch = 32;
/// What was lost on the way and not dropped by a rule arrives in the next round.
constexpr std::chrono::seconds kSendTime{5};
constexpr int kRounds = 3;
constexpr int kReceiveQueue = 64 << 20;
constexpr auto kUnderWay = 200ms;

// ---------------------------------------------------------------- packets

struct Network {
    std::uint32_t address, host_bits;
};

/// What a rule asks for; of negated conditions nothing.
struct Rule {
    std::string chain, target;
    std::optional<Network> src, dst;
    std::optional<std::uint8_t> protocol;
    std::vector<std::uint16_t> sports, dports; ///< of lists and ranges the ends
};

std::optional<Network> read_network(const std::string& word)
{
    const auto slash = word.find('/');
    in_addr address{};
    if (slash == std::string::npos || inet_pton(AF_INET, word.substr(0, slash).c_str(), &address) != 1) return std::nullopt;
    const auto length = std::stoul(word.substr(slash + 1));
    return Network{ntohl(address.s_addr), length ? static_cast<std::uint32_t>(0xffffffffull >> length) : 0xffffffff};
}

std::vector<std::uint16_t> read_ports(std::string word)
{
    std::vector<std::uint16_t> ports;
    std::replace(word.begin(), word.end(), ',', ' ');
    std::replace(word.begin(), word.end(), ':', ' ');
    std::istringstream numbers{word};
    for (std::uint16_t port; numbers >> port;) ports.push_back(port);
    return ports;
}

std::optional<std::uint8_t> read_protocol(const std::string& name)
{
    const std::map<std::string, std::uint8_t> numbers{{"icmp", 1}, {"tcp", 6}, {"udp", 17}, {"esp", 50}, {"sctp", 132}};
    const auto found = numbers.find(name);
    return found == numbers.end() ? std::nullopt : std::optional{found->second};
}

Rule read_rule(std::istream& words)
{
    Rule rule;
    std::string option, value;
    bool negated = false;
    words >> option >> rule.chain;
    while (words >> option) {
        if (option == "!") {
            negated = true;
            continue;
        }
        if (!option.starts_with('-') || negated || !(words >> value)) {
            negated = false;
            continue;
        }
        if (option == "-s") rule.src = read_network(value);
        if (option == "-d") rule.dst = read_network(value);
        if (option == "-p") rule.protocol = read_protocol(value);
        if (option == "--sport" || option == "--sports") rule.sports = read_ports(value);
        if (option == "--dport" || option == "--dports" || option == "--ports") rule.dports = read_ports(value);
        if (option == "-j" || option == "-g") rule.target = value;
    }
    return rule;
}

/// All of the table filter but INPUT's.
std::vector<Rule> read_rules(const std::string& file)
{
    std::vector<Rule> rules;
    bool in_filter = false;
    std::ifstream in{file};
    for (std::string line; std::getline(in, line);) {
        std::istringstream words{line};
        if (line.starts_with('*')) in_filter = line == "*filter";
        if (in_filter && line.starts_with("-A ") && !line.starts_with("-A INPUT")) rules.push_back(read_rule(words));
    }
    if (rules.empty()) throw std::runtime_error{file + " has no rules"};
    return rules;
}

std::string text(std::uint32_t address)
{
    const in_addr raw{htonl(address)};
    char text[INET_ADDRSTRLEN];
    return inet_ntop(AF_INET, &raw, text, sizeof text);
}

class Packets {
public:
    Packets(const std::vector<Rule>& rules, std::string to, unsigned seed) : rules_{rules}, to_{std::move(to)}, random_{seed} {}

    Frame next(std::uint32_t number)
    {
        const std::uint32_t trailer[2]{htonl(kMark), htonl(number)};
        const Payload payload{std::string{reinterpret_cast<const char*>(trailer), sizeof trailer}};
        Flow flow;
        do {
            flow = random_flow(number);
        } while (!flows_.insert(flow).second || flows_.contains(answer_to(flow)));
        const auto& [protocol, src, dst, sport, dport] = flow;
        const Eth eth{.dst = to_, .src = "02:00:00:00:00:0" + std::to_string(below(10))};
        Ipv4 ip{.src = text(src), .dst = text(dst), .tos = any(std::vector<std::uint8_t>{0, 0, 0, 46 << 2})};
        switch (protocol) {
        case 6: return packet(eth, ip, Tcp{.sport = sport, .dport = dport, .flags = tcp_flags()}, payload);
        case 17: return packet(eth, ip, Udp{.sport = sport, .dport = dport}, payload);
        case 132: return packet(eth, ip, Sctp{.sport = sport, .dport = dport, .tag = 0}, Raw{kSctpInit}, payload);
        case 1: return packet(eth, ip, Icmp{.type = any(std::vector<std::uint8_t>{8, 8, 8, 13}), .rest = std::uint32_t{sport} << 16 | 1}, payload);
        default: ip.protocol = protocol; return packet(eth, ip, payload);
        }
    }

private:
    using Flow = std::tuple<std::uint8_t, std::uint32_t, std::uint32_t, std::uint16_t, std::uint16_t>;

    static Flow answer_to(const Flow& flow)
    {
        const auto& [protocol, src, dst, sport, dport] = flow;
        return {protocol, dst, src, dport, sport};
    }

    unsigned below(unsigned bound) { return std::uniform_int_distribution<unsigned>{0, bound - 1}(random_); }
    template <class T>
    const T& any(const std::vector<T>& list) { return list[below(static_cast<unsigned>(list.size()))]; }

    /// About what one rule asks for, and the jumps that lead to it.
    Flow random_flow(std::uint32_t number)
    {
        Rule wanted = any(rules_);
        for (const Rule* jump = jump_to(wanted.chain); jump; jump = jump_to(jump->chain)) {
            if (!wanted.src) wanted.src = jump->src;
            if (!wanted.dst) wanted.dst = jump->dst;
            if (!wanted.protocol) wanted.protocol = jump->protocol;
            if (wanted.dports.empty()) wanted.dports = jump->dports;
        }
        const auto protocol = wanted.protocol && below(20) ? *wanted.protocol : any(std::vector<std::uint8_t>{6, 6, 17, 17, 132, 1, 50});
        const bool has_ports = protocol == 6 || protocol == 17 || protocol == 132;
        const auto sport = static_cast<std::uint16_t>(protocol == 1 ? number : has_ports ? port(wanted.sports) : 0);
        return {protocol, address(wanted.src), address(wanted.dst), sport, static_cast<std::uint16_t>(has_ports ? port(wanted.dports) : 0)};
    }

    /// One of the rules that lead to the chain; null: none does.
    const Rule* jump_to(const std::string& chain)
    {
        std::vector<const Rule*> jumps;
        for (const auto& rule : rules_)
            if (rule.target == chain) jumps.push_back(&rule);
        return jumps.empty() ? nullptr : any(jumps);
    }

    /// One of those, one beside it, or any.
    std::uint16_t port(const std::vector<std::uint16_t>& ports)
    {
        if (ports.empty() || !below(10)) return static_cast<std::uint16_t>(below(65536));
        return static_cast<std::uint16_t>(any(ports) + any(std::vector<int>{0, 0, 0, 0, 1, -1}));
    }

    /// One that a router forwards from and to, and none of the lab's own.
    std::uint32_t address(const std::optional<Network>& wanted)
    {
        for (;;) {
            const auto& other = any(rules_);
            const auto& network = wanted && below(20) ? wanted : below(2) ? other.src : other.dst;
            const auto address = network ? network->address | (random_() & network->host_bits) : static_cast<std::uint32_t>(random_());
            const auto first = address >> 24, net = address >> 8;
            const bool of_lab = net == 0x0a0100 || net == 0x0a0301 || net == 0x0a0302;
            if (first != 0 && first != 127 && first < 224 && !of_lab) return address;
        }
    }

    /// Mostly those that open a connection.
    std::uint8_t tcp_flags()
    {
        return below(10) ? SYN : any(std::vector<std::uint8_t>{ACK, SYN | ACK, RST, FIN | ACK, FIN, 0, SYN | FIN, FIN | PSH | URG});
    }

    const std::vector<Rule>& rules_;
    std::string to_;
    std::mt19937 random_;
    std::set<Flow> flows_;
};

// ---------------------------------------------------------------- captures

struct PcapHeader {
    std::uint32_t magic = 0xa1b2c3d4;
    std::uint16_t major = 2, minor = 4;
    std::uint32_t zone = 0, accuracy = 0, longest = 65535, link = 1;
};

struct PcapRecord {
    std::uint32_t seconds = 0, microseconds = 0, length = 0, on_wire = 0;
};

template <class T>
void put(std::ostream& out, const T& value)
{
    out.write(reinterpret_cast<const char*>(&value), sizeof value);
}

void write_capture(const std::string& path, Packets& packets, std::uint32_t count)
{
    std::ofstream out{path, std::ios::binary};
    put(out, PcapHeader{});
    for (std::uint32_t number = 0; number < count; ++number) {
        const auto frame = packets.next(number);
        const auto length = static_cast<std::uint32_t>(frame.size());
        put(out, PcapRecord{0, 0, length, length});
        out.write(reinterpret_cast<const char*>(frame.data()), length);
    }
    if (!out.flush()) throw std::runtime_error{"cannot write " + path};
}

std::vector<std::string> read_capture(const std::string& path)
{
    std::ifstream in{path, std::ios::binary};
    std::vector<std::string> frames;
    PcapHeader header;
    PcapRecord record;
    if (!in.read(reinterpret_cast<char*>(&header), sizeof header)) throw std::runtime_error{"cannot read " + path};
    while (in.read(reinterpret_cast<char*>(&record), sizeof record)) {
        frames.emplace_back(record.length, '\0');
        in.read(frames.back().data(), record.length);
    }
    return frames;
}

// ---------------------------------------------------------------- both ends of the router

Fd packet_socket(const std::string& space)
{
    enter(space);
    Fd socket{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP))};
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_protocol = htons(ETH_P_IP);
    to.sll_ifindex = static_cast<int>(interface_index("eth0"));
    if (!socket || bind(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) ||
        setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveQueue, sizeof kReceiveQueue))
        throw_errno(errno, "cannot open a packet socket");
    return socket;
}

/// The number of one of our packets; nothing for others, and for ICMP errors of the router, which quote ours.
std::optional<std::uint32_t> number_of(const unsigned char* frame, std::size_t size)
{
    constexpr std::size_t ip = 14;
    if (size < ip + 20) return std::nullopt;
    const std::size_t end = ip + (frame[ip + 2] << 8 | frame[ip + 3]);
    const bool icmp_error = frame[ip + 9] == 1 && frame[ip + 20] == 3;
    if (end > size || end < ip + 20 + kTrailer || icmp_error) return std::nullopt;
    std::uint32_t trailer[2];
    std::memcpy(trailer, frame + end - kTrailer, kTrailer);
    return ntohl(trailer[0]) == kMark ? std::optional{ntohl(trailer[1])} : std::nullopt;
}

class Router {
public:
    Router(const std::string& from, const std::string& at) : out_{packet_socket(from)}, in_{packet_socket(at)} {}

    /// Which of the frames came through.
    std::vector<bool> pass(const std::vector<std::string>& frames)
    {
        arrived_.assign(frames.size(), false);
        for (int round = 0; round < kRounds; ++round) {
            std::size_t sent = 0;
            for (std::size_t i = 0; i < frames.size(); ++i) {
                if (arrived_[i]) continue;
                send_one(frames[i]);
                if (++sent % kBatch == 0) receive();
            }
            std::this_thread::sleep_for(kUnderWay);
            receive();
        }
        return arrived_;
    }

private:
    /// A queue that is full drains while what has come through is read.
    void send_one(const std::string& frame)
    {
        const auto deadline = std::chrono::steady_clock::now() + kSendTime;
        while (send(out_.get(), frame.data(), frame.size(), 0) < 0) {
            if (errno != ENOBUFS || std::chrono::steady_clock::now() > deadline) throw_errno(errno, "cannot send");
            receive();
        }
    }

    void receive()
    {
        unsigned char frame[2048];
        for (ssize_t size; (size = recv(in_.get(), frame, sizeof frame, MSG_DONTWAIT)) >= 0;)
            if (const auto number = number_of(frame, static_cast<std::size_t>(size)); number && *number < arrived_.size()) arrived_[*number] = true;
    }

    Fd out_, in_;
    std::vector<bool> arrived_;
};

struct Options {
    std::string command, capture, rules, to, from, at;
    std::uint32_t count = 0;
    unsigned seed = 1;
};

Options read_options(int argc, char** argv)
{
    namespace po = boost::program_options;
    Options options;
    po::options_description all;
    all.add_options()("command", po::value(&options.command))("capture", po::value(&options.capture))("rules", po::value(&options.rules))(
        "to", po::value(&options.to))("from", po::value(&options.from))("at", po::value(&options.at))("count", po::value(&options.count))(
        "seed", po::value(&options.seed));
    po::positional_options_description words;
    words.add("command", 1).add("capture", 1);
    po::variables_map values;
    po::store(po::command_line_parser(argc, argv).options(all).positional(words).run(), values);
    po::notify(values);
    return options;
}

void run(const Options& options)
{
    if (options.command == "write") {
        const auto rules = read_rules(options.rules);
        Packets packets{rules, options.to, options.seed};
        write_capture(options.capture, packets, options.count);
    } else if (options.command == "send") {
        for (const bool passed : Router{options.from, options.at}.pass(read_capture(options.capture))) std::cout << (passed ? "forward\n" : "drop\n");
    } else {
        throw std::invalid_argument{"write or send"};
    }
}

} // namespace

int main(int argc, char** argv)
try {
    run(read_options(argc, argv));
} catch (const std::exception& error) {
    std::cerr << "evnf_verdicts: " << error.what() << '\n';
    return 1;
}
