// SPDX-License-Identifier: MIT
/// Sends labelled packets through the VNF of tests/lab, over many routes in random order, and looks at what
/// arrives.
///
/// Reads the routes from standard input, one a line:
///     NAME ADDRESS HOSTS PORT PORTS SHORTEST LONGEST [df]
/// and prints
///     {"seed":N,"seconds":S,"example":{"route":"…","number":N,"marks":[…]},
///      "routes":[{"name":"…","sent":N,"received":N,"sets":[N,N],"wrong":N,"duplicates":N}]}
/// A packet is wrong when not every stage stamped it once and in order, with a mark of one and the same set;
/// `example` is one of those, or null.
///
/// With --rate, all packets must arrive: who sends waits for them. It ends at SIGTERM, --packets being the most.
#include <arpa/inet.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <random>
#include <sstream>
#include <thread>

#include "visits_shared.h"

#include "skeleton.hpp"
#include "visits_generator_bpf.skel.h"
#include "visits_receiver_bpf.skel.h"

using namespace evnf;
using namespace evnf::test;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace json = boost::json;

namespace {

constexpr unsigned kPerCall = 1 << 12;
constexpr unsigned kMostPerCall = 1 << 16;
constexpr unsigned kBatch = 16; // of what the kernel sends at once, before it lets the receiving side run
constexpr std::size_t kFrame = 14 + 1500;

struct Options {
    std::string client, vnf;          ///< files of network namespaces
    std::vector<std::string> servers; ///< as above
    std::string gateway;              ///< MAC address of the VNF
    std::string source, source6;      ///< the first of 65536 addresses of the senders
    std::vector<std::uint16_t> local_ports;
    std::uint64_t packets = 1'000'000;
    std::uint64_t seed = std::random_device{}();
    unsigned stages = 0;
    unsigned rounds = 1;
    unsigned flows = 1024; ///< of each route, a power of 2
    double rate = 0; ///< packets a second; 0 is as fast as the VNF takes them in
    std::string between; ///< a command to run after each round, when nothing is under way
};

Options read_options(int argc, char** argv)
{
    namespace po = boost::program_options;
    Options options;
    po::options_description all;
    const auto add = [&](const char* name, auto& value) { all.add_options()(name, po::value(&value)); };
    add("client", options.client);
    add("vnf", options.vnf);
    add("server", options.servers);
    add("gateway", options.gateway);
    add("source", options.source);
    add("source6", options.source6);
    add("local-port", options.local_ports);
    add("packets", options.packets);
    add("seed", options.seed);
    add("stages", options.stages);
    add("rounds", options.rounds);
    add("flows", options.flows);
    add("rate", options.rate);
    add("between", options.between);
    po::variables_map values;
    po::store(po::parse_command_line(argc, argv, all), values);
    po::notify(values);
    return options;
}

struct Route {
    std::string name;
    visits_route to{};
};

void parse_address(int family, const std::string& text, void* to)
{
    if (inet_pton(family, text.c_str(), to) != 1) throw std::invalid_argument{"no address: " + text};
}

Route read_route(const std::string& line)
{
    Route route;
    std::string address, flag;
    std::istringstream words{line};
    words >> route.name >> address >> route.to.hosts >> route.to.port >> route.to.ports >>
        route.to.shortest >> route.to.longest;
    if (!words || !route.to.hosts || !route.to.ports) throw std::invalid_argument{"no route: " + line};
    words >> flag;
    route.to.dont_fragment = flag == "df";
    route.to.ip_version = address.find(':') == std::string::npos ? 4 : 6;
    if (route.to.ip_version == 4)
        parse_address(AF_INET, address, route.to.to + 12);
    else
        parse_address(AF_INET6, address, route.to.to);
    return route;
}

std::vector<Route> read_routes(std::istream& input)
{
    std::vector<Route> routes;
    for (std::string line; std::getline(input, line);) routes.push_back(read_route(line));
    if (routes.empty() || routes.size() > VISITS_MAX_ROUTES)
        throw std::invalid_argument{"there must be 1 to 32 routes"};
    return routes;
}

/// "02:00:00:00:00:01"
void parse_mac(const std::string& text, std::uint8_t* to)
{
    std::istringstream bytes{text};
    unsigned byte = 0;
    for (int i = 0; i < 6; ++i, bytes.ignore()) {
        if (!(bytes >> std::hex >> byte)) throw std::invalid_argument{"no MAC address: " + text};
        to[i] = static_cast<std::uint8_t>(byte);
    }
}

/// The programs that see what arrives.
class Receivers {
public:
    Receivers(const Options& options) : program_{open<visits_receiver_bpf>()}
    {
        program_->rodata->packets = options.packets;
        program_->rodata->stages = static_cast<std::uint8_t>(options.stages);
        bpf_map__set_max_entries(program_->maps.seen, static_cast<std::uint32_t>(options.packets / 64 + 1));
        must(visits_receiver_bpf::load(program_.get()), "cannot load the receiver");
        for (const auto& server : options.servers) {
            enter(server);
            links_.emplace_back(attach_to_eth0(program_->progs.receive), bpf_link__destroy);
        }
        enter(options.vnf);
        for (const auto port : options.local_ports) sockets_.push_back(listen(port));
    }

    visits_arrivals arrivals(std::uint32_t route) const
    {
        visits_arrivals sum{};
        const MapRef counters{bpf_map__fd(program_->maps.arrivals), "arrivals"};
        for (const auto& cpu : counters.find_per_cpu<visits_arrivals>(route)) {
            sum.packets += cpu.packets;
            for (std::size_t set = 0; set < VISITS_SETS; ++set) sum.sets[set] += cpu.sets[set];
            sum.wrong += cpu.wrong;
            sum.duplicates += cpu.duplicates;
        }
        return sum;
    }

    std::uint64_t packets() const
    {
        std::uint64_t sum = 0;
        for (std::uint32_t route = 0; route < VISITS_MAX_ROUTES; ++route) sum += arrivals(route).packets;
        return sum;
    }

    int arrived() const { return bpf_map__fd(program_->maps.arrived); }
    const visits_label& example() const { return program_->bss->example; }

private:
    /// Takes IPv4 and IPv6, whose packets here have no checksum either.
    Fd listen(std::uint16_t port) const
    {
        Fd socket{::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        const int no = 0, yes = 1, program = bpf_program__fd(program_->progs.receive_locally);
        sockaddr_in6 any{.sin6_family = AF_INET6, .sin6_port = htons(port)};
        if (!socket || setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) ||
            setsockopt(socket.get(), IPPROTO_UDP, UDP_NO_CHECK6_RX, &yes, sizeof yes) ||
            setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program) ||
            bind(socket.get(), reinterpret_cast<sockaddr*>(&any), sizeof any))
            throw_errno(errno, "cannot listen");
        return socket;
    }

    Owned<visits_receiver_bpf> program_;
    std::vector<std::unique_ptr<bpf_link, int (*)(bpf_link*)>> links_;
    std::vector<Fd> sockets_;
};

std::uint32_t inode(const char* file)
{
    struct stat status {};
    if (stat(file, &status)) throw_errno(errno, file);
    return static_cast<std::uint32_t>(status.st_ino);
}

class Generator {
public:
    Generator(const Options& options, const std::vector<Route>& routes, const Receivers& receivers)
        : program_{open<visits_generator_bpf>()}
    {
        auto& data = *program_->bss;
        for (std::size_t i = 0; i < routes.size(); ++i) data.routes[i] = routes[i].to;
        data.route_count = static_cast<std::uint32_t>(routes.size());
        std::mt19937_64 random{options.seed};
        data.random_state = random() | 1;
        data.flow_salt = random();
        parse_mac(options.gateway, data.router);
        parse_address(AF_INET, options.source, &data.source);
        parse_address(AF_INET6, options.source6, data.source6);
        enter(options.vnf);
        program_->rodata->vnf_ifindex = static_cast<int>(interface_index("eth0"));
        program_->rodata->vnf_netns = inode("/proc/thread-self/ns/net");
        program_->rodata->all_arrive = options.rate > 0;
        program_->rodata->flows = options.flows;
        must(bpf_map__reuse_fd(program_->maps.arrived, receivers.arrived()), "cannot share a counter");
        enter(options.client);
        must(visits_generator_bpf::load(program_.get()), "cannot load the generator");
        must(visits_generator_bpf::attach(program_.get()), "cannot attach to napi_poll");
        const MapRef egress{bpf_map__fd(program_->maps.egress), "egress"};
        egress.update(std::uint32_t{0}, interface_index("eth0"));
    }

    void send(std::uint64_t packets)
    {
        auto& data = *program_->bss;
        for (const auto goal = data.number + packets; data.number < goal;) {
            run(static_cast<unsigned>(std::min<std::uint64_t>(goal - data.number, kPerCall)));
            await_vnf();
            data.taken = data.number; // a few frames were others'
        }
    }

    /// All that is due goes with one call: each was measured to sleep about 12 ms, however few its packets.
    /// Until SIGTERM, which the caller has blocked: what interrupts the kernel while it sends would be an error.
    void send_at(double rate, std::uint64_t most)
    {
        const auto& data = *program_->bss;
        const auto start = Clock::now();
        while (!has_been_told_to_stop() && data.number < most) {
            const std::chrono::duration<double> elapsed = Clock::now() - start;
            const auto due = std::min(most, static_cast<std::uint64_t>(rate * elapsed.count()));
            const auto before = data.number;
            if (due > before) run(static_cast<unsigned>(std::min<std::uint64_t>(due - before, kMostPerCall)));
            if (data.number - before < kBatch) std::this_thread::sleep_for(100us);
        }
    }

    std::uint64_t sent(std::size_t route) const { return program_->bss->sent[route]; }

private:
    void run(unsigned times)
    {
        LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame_.data(), .data_size_in = kFrame,
                    .repeat = static_cast<int>(times), .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
                    .batch_size = kBatch);
        must(bpf_prog_test_run_opts(bpf_program__fd(program_->progs.generate), &run), "cannot send");
    }

    /// What is lost in front of the VNF is no fault of the VNF.
    void await_vnf() const
    {
        const auto& data = *program_->bss;
        const auto deadline = Clock::now() + 5s;
        while (data.taken < data.number) {
            if (Clock::now() > deadline)
                throw std::runtime_error{"the VNF did not take in all that was sent"};
            std::this_thread::yield();
        }
    }

    static bool has_been_told_to_stop()
    {
        sigset_t pending;
        return !sigpending(&pending) && sigismember(&pending, SIGTERM) == 1;
    }

    std::vector<std::byte> frame_ = std::vector<std::byte>(kFrame);
    Owned<visits_generator_bpf> program_;
};

/// Returns when nothing has arrived for a while.
void settle(const Receivers& receivers)
{
    for (std::uint64_t before = ~0ull, now = receivers.packets(); now != before; now = receivers.packets()) {
        before = now;
        std::this_thread::sleep_for(100ms);
    }
}

void block_sigterm()
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set, nullptr)) throw_errno(errno, "cannot block SIGTERM");
}

void run_command(const std::string& command)
{
    if (!command.empty() && std::system(command.c_str()) != 0) throw std::runtime_error{"failed: " + command};
}

json::object report(const Route& route, std::uint64_t sent, const visits_arrivals& arrivals)
{
    return {{"name", route.name},
            {"sent", sent},
            {"received", arrivals.packets},
            {"sets", json::array(std::begin(arrivals.sets), std::end(arrivals.sets))},
            {"wrong", arrivals.wrong},
            {"duplicates", arrivals.duplicates}};
}

json::object describe(const visits_label& label, const std::vector<Route>& routes)
{
    const std::size_t count = std::min<std::size_t>(label.count, VISITS_MAX_MARKS);
    const json::array marks(label.marks, label.marks + count);
    const bool known = label.route < routes.size();
    return {
        {"route", known ? routes[label.route].name : "unknown"}, {"number", +label.number}, {"marks", marks}};
}

void send_in_rounds(Generator& generator, const Options& options, const Receivers& receivers)
{
    for (std::uint64_t round = 0, sent = 0; round < options.rounds; ++round) {
        const auto goal = options.packets * (round + 1) / options.rounds;
        generator.send(goal - sent);
        sent = goal;
        settle(receivers);
        run_command(options.between);
    }
}

json::object run(const Options& options, const std::vector<Route>& routes)
{
    const Receivers receivers{options};
    Generator generator{options, routes, receivers};
    const auto start = Clock::now();
    if (options.rate > 0)
        generator.send_at(options.rate, options.packets);
    else
        send_in_rounds(generator, options, receivers);
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    settle(receivers);
    json::object result{{"seed", options.seed}, {"seconds", elapsed.count()}, {"example", nullptr}};
    json::array& reports = result["routes"].emplace_array();
    for (std::uint32_t i = 0; i < routes.size(); ++i)
        reports.push_back(report(routes[i], generator.sent(i), receivers.arrivals(i)));
    if (receivers.example().magic) result["example"] = describe(receivers.example(), routes);
    return result;
}

} // namespace

int main(int argc, char** argv)
try {
    const auto options = read_options(argc, argv);
    if (options.rate > 0) block_sigterm();
    std::cout << run(options, read_routes(std::cin)) << "\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "evnf_visits: " << error.what() << "\n";
    return 1;
}
