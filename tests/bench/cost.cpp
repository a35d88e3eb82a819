// SPDX-License-Identifier: MIT
/// What the fast path costs, stage by stage: nanoseconds per packet by BPF_PROG_TEST_RUN, with the loop
/// around it, which the case "empty-program" shows alone. Prints a sample a line:
/// {"case":C,"subject":S,"round":R,"value":NS}.
///
/// The frame is not restored between runs, so no case may change it: the forwarder answers without routing,
/// and the balanced service has its VIP's own address as backend, so that lb does all of its work and writes
/// what was there. Counters prove that every run took the path that the case claims.
#include <boost/json.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "chain.hpp"
#include "dpi_cost.hpp"
#include "fw_random_frames.hpp"
#include "fw_random_rules.hpp"
#include "packet.hpp"
#include "skeleton.hpp"
#include "vary_bpf.skel.h"

using namespace evnf::test;
namespace json = boost::json;

namespace {

constexpr std::size_t kFrame = 60; // the 64th byte is the last of the FCS
constexpr unsigned kWarmUp = 1000;

/// UDP with 18 bytes of payload, from a client that every case permits.
Frame to(const std::string& address)
{
    return packet(Eth{}, Ipv4{.dst = address}, Udp{.dport = 7}, Payload{std::string(kFrame - 42, 'x')});
}

const std::string kServer = "10.3.1.2", kVip = "10.2.0.2";

/// The last of `count` rules decides; those before it differ from the packet in the source address only.
std::string fw(unsigned count)
{
    std::string text = "  fw:\n    default: drop\n    rules:\n";
    for (unsigned i = 1; i < count; ++i)
        text += "      - {name: bad" + std::to_string(i) + ", src: 198.51.100." + std::to_string(i) +
                ", proto: udp, dport: 7, action: drop}\n";
    return text + "      - {name: last, dst: 10.0.0.0/8, proto: udp, dport: 7, action: allow}\n";
}

/// Connections are tracked; the packet's is established, and stays so however long a round takes.
const std::string kStateful =
    "  fw:\n    default: drop\n    timeouts: {udp: 1h}\n    rules:\n      - {name: last, state: established, action: allow}\n"
    "      - {name: begins, state: new, proto: udp, dport: 7, action: allow}\n";
const std::string kDpi = "  dpi: {}\n";
const std::string kLb =
    "  lb: {services: [{name: echo, vip: 10.2.0.2, port: 7, proto: udp,"
    " backends: [{name: same, address: 10.2.0.2}]}]}\n";

struct Case {
    std::string name, chain, plugins, address;
};

std::vector<Case> cases()
{
    return {
        {"no-plugin", "[]", "", kServer},
        {"fw-1-rule", "[fw]", fw(1), kServer},
        {"fw-100-rules", "[fw]", fw(100), kServer},
        {"fw-known-connection", "[fw]", kStateful, kServer},
        {"dpi-known-flow", "[dpi]", kDpi, kServer},
        {"lb-no-service", "[lb]", kLb, kServer},
        {"lb-known-connection", "[lb]", kLb, kVip},
        {"chain-routed", "[fw, dpi, lb]", fw(1) + kDpi + kLb, kServer},
        {"chain-vip", "[fw, dpi, lb]", fw(1) + kDpi + kLb, kVip},
    };
}

/// Says which promise of a case was broken.
void require(bool holds, const Case& one, const std::string& promise)
{
    if (!holds) throw std::runtime_error{one.name + ": not so: " + promise};
}

std::uint64_t number(const json::value& row, const char* key)
{
    return row.at(key).to_number<std::uint64_t>();
}

/// A chain whose tables know the flow already.
class Subject {
public:
    explicit Subject(const Case& one)
        : case_{one},
          frame_{to(one.address)},
          chain_{"ports: [{name: in, chain: " + one.chain + "}]\n" +
                 (one.plugins.empty() ? "" : "plugins:\n" + one.plugins)}
    {
        chain_.run("in", frame_);
        chain_.run("in", packet(Eth{}, Ipv4{.src = one.address, .dst = "10.1.0.2"}, Udp{.sport = 7, .dport = 1234}));
        for (unsigned i = 0; i < kWarmUp; ++i) run_once();
    }

    /// Mean nanoseconds; throws unless each of the runs took the path that the case claims.
    double measure(unsigned repeat)
    {
        const auto before = path();
        const double ns = chain_.cost_ns("in", frame_, repeat);
        const auto after = path();
        for (const auto& [counter, value] : after)
            require(value - before.at(counter) == repeat, case_, "every packet counts as: " + counter);
        run_once();
        return ns;
    }

    const std::string& name() const { return case_.name; }

private:
    void run_once()
    {
        const auto result = chain_.run("in", frame_);
        require(result.verdict == EVNF_FORWARD, case_, "the packet is forwarded");
        require(result.frame == frame_, case_, "the frame stays as it is");
    }

    bool has(const std::string& plugin) const { return case_.chain.find(plugin) != std::string::npos; }

    /// What each packet of the case adds one to.
    std::map<std::string, std::uint64_t> path()
    {
        std::map<std::string, std::uint64_t> counters;
        counters["forwarded"] = number(chain_.stats().at("ports").at(0), "forward");
        if (has("fw")) counters["last rule"] = last_rule();
        if (has("dpi")) counters["known flow"] = known_flow();
        if (has("lb") && case_.address == kVip)
            counters["balanced"] = number(chain_.query("lb", "backends").at(0), "packets");
        return counters;
    }

    std::uint64_t last_rule()
    {
        const auto rules = chain_.query("fw", "rules");
        for (const auto& rule : rules.as_array())
            if (rule.at("name").as_string() == "last") return number(rule, "packets");
        throw std::runtime_error{"fw has no rule 'last'"};
    }

    std::uint64_t known_flow()
    {
        const auto flows = chain_.query("dpi", "flows");
        const std::string state{flows.at(0).at("state").as_string()};
        require(state == "classified" || state == "gave_up", case_, "dpi is through with the flow");
        return number(flows.at(0), "packets");
    }

    Case case_;
    Frame frame_;
    Chain chain_;
};

/// A firewall of `count` rules as operators have them, all of which allow; the mean over frames that meet rules, each of
/// them as likely as any other, or over random ones.
class Firewall {
public:
    Firewall(unsigned count, bool of_rules) : name_{"fw-" + std::to_string(count) + (of_rules ? "-structured" : "-random")}
    {
        std::mt19937 random{count};
        auto rules = structured_fw_rules(random, count);
        for (auto& rule : rules) rule.action = "allow";
        chain_.emplace("ports: [{name: a, chain: [fw]}, {name: b, chain: [fw]}, {name: c, chain: [fw]}]\nplugins: {fw: " +
                       fw_settings(rules, "next") + "}\n");
        while (frames_.size() < kFrames) frames_.push_back(of_rules ? fw_frame_near(random, rules) : random_fw_frame(random));
        for (const auto& frame : frames_) chain_->run("a", frame);
    }

    double measure(unsigned repeat)
    {
        double sum = 0;
        const auto before = forwarded();
        for (const auto& frame : frames_) sum += chain_->cost_ns("a", frame, repeat / kFrames);
        if (forwarded() - before != std::uint64_t{repeat / kFrames} * kFrames) throw std::runtime_error{name_ + ": not all was forwarded"};
        return sum / kFrames;
    }

    const std::string& name() const { return name_; }

private:
    static constexpr unsigned kFrames = 200;

    std::uint64_t forwarded() { return number(chain_->stats().at("ports").at(0), "forward"); }

    std::string name_;
    std::optional<Chain> chain_;
    std::vector<Frame> frames_;
};

/// The same rules and packets that meet them, IPv4 and without tags. Each packet is of another flow than the one before: of
/// 1000 that come in turn, or from an address that never comes again.
class VariedFirewall {
public:
    VariedFirewall(unsigned count, bool spoofed) : name_{"fw-" + std::to_string(count) + (spoofed ? "-spoofed" : "-flows")}, flows_{spoofed ? 0u : 1000u}
    {
        std::mt19937 random{count};
        auto rules = structured_fw_rules(random, count);
        for (auto& rule : rules) rule.action = "allow";
        chain_.emplace("ports: [{name: a, chain: [fw]}, {name: b, chain: []}, {name: c, chain: []}]\nplugins: {fw: " +
                       fw_settings(rules, "next") + "}\n");
        while (frames_.size() < kFrames) {
            auto frame = fw_frame_near(random, rules);
            if (frame.size() >= 60 && frame[12] == std::byte{8} && frame[13] == std::byte{0} && frame[14] == std::byte{0x45})
                frames_.push_back(std::move(frame));
        }
        must(vary_bpf::load(vary_.get()), "cannot load the program that varies packets");
        evnf::MapRef{bpf_map__fd(vary_->maps.entry), "entry"}.update(std::uint32_t{0}, chain_->entry("a"));
    }

    double measure(unsigned repeat)
    {
        double sum = 0;
        vary_->bss->flows = flows_;
        for (const auto& frame : frames_) {
            run(frame, kUntilKnown);
            sum += run(frame, repeat / kFrames);
        }
        return sum / kFrames;
    }

    const std::string& name() const { return name_; }

private:
    static constexpr unsigned kFrames = 20, kUntilKnown = 50000;

    double run(const Frame& frame, unsigned repeat)
    {
        LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(), .data_size_in = static_cast<__u32>(frame.size()),
                    .repeat = static_cast<int>(repeat));
        must(bpf_prog_test_run_opts(bpf_program__fd(vary_->progs.vary), &run), "cannot run packets of many flows");
        return run.duration;
    }

    std::string name_;
    unsigned flows_;
    std::optional<Chain> chain_;
    std::vector<Frame> frames_;
    Owned<vary_bpf> vary_ = open<vary_bpf>();
};

/// A rule that asks for a set of `count` prefixes, spread over what is routed, of one family; the mean over frames half of which
/// come from the set.
class SetFirewall {
public:
    SetFirewall(unsigned count, bool v4) : name_{"fw-set-" + std::to_string(count) + (v4 ? "-v4" : "-v6")}
    {
        std::mt19937 random{count};
        std::vector<std::string> members;
        const auto path = std::filesystem::temp_directory_path() / fmt::format("evnf-cost-{}", getpid());
        std::ofstream file{path};
        for (unsigned i = 0; i < count; ++i) {
            members.push_back(v4 ? address4(random) : address6(random));
            file << members.back() << (v4 ? "\n" : "/64\n");
        }
        file.close();
        chain_.emplace("ports: [{name: a, chain: [fw]}]\nplugins: {fw: {default: next, sets: {s: {file: " + path.string() +
                       "}}, rules: [{name: r, src: $s, action: allow}]}}\n");
        std::filesystem::remove(path);
        for (unsigned i = 0; i < kFrames; ++i) {
            const auto src = i % 2 ? members[random() % members.size()] : v4 ? address4(random) : address6(random);
            frames_.push_back(v4 ? packet(Eth{}, Ipv4{.src = src}, Udp{}) : packet(Eth{}, Ipv6{.src = src}, Udp{}));
        }
        for (const auto& frame : frames_) chain_->run("a", frame);
    }

    double measure(unsigned repeat)
    {
        double sum = 0;
        for (const auto& frame : frames_) sum += chain_->cost_ns("a", frame, repeat / kFrames);
        return sum / kFrames;
    }

    const std::string& name() const { return name_; }

private:
    static constexpr unsigned kFrames = 50;

    static std::string address4(std::mt19937& random)
    {
        return fmt::format("{}.{}.{}.{}", 1 + random() % 222, random() % 256, random() % 256, random() % 256);
    }
    static std::string address6(std::mt19937& random)
    {
        return fmt::format("{:x}:{:x}:{:x}:{:x}::", 0x2000 + random() % 0x1000, random() % 65536, random() % 65536, random() % 65536);
    }

    std::string name_;
    std::optional<Chain> chain_;
    std::vector<Frame> frames_;
};

/// The loop of BPF_PROG_TEST_RUN around a program that does nothing.
double empty_program_ns(unsigned repeat)
{
    const bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_DROP},
                             {.code = BPF_JMP | BPF_EXIT}};
    static const evnf::Fd program{
        bpf_prog_load(BPF_PROG_TYPE_XDP, "empty", "MIT", code, std::size(code), nullptr)};
    const Frame frame = to(kServer);
    LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(), .data_size_in = kFrame,
                .repeat = static_cast<int>(repeat));
    if (!program || bpf_prog_test_run_opts(program.get(), &run))
        evnf::throw_errno(errno, "cannot run an empty program");
    return run.duration;
}

void print(const std::string& name, const std::string& subject, unsigned round, double ns)
{
    std::cout << json::object{{"case", name}, {"subject", subject}, {"round", round}, {"value", ns}}
              << std::endl;
}

/// dpi's own share: what the same packets cost with dpi and without, in the same round.
void print_dpi_shares(std::map<std::string, double>& ns, unsigned round)
{
    for (const auto& [with, without] : {std::pair{"dpi-known-flow", "no-plugin"}, {"dpi-inspected-1500B", "no-plugin"}, {"dpi-flows-1M", "no-plugin-1M"}})
        print(std::string{with} + "-share", "evnf", round, ns.at(with) - ns.at(without));
}

void measure(unsigned rounds, unsigned repeat)
{
    InspectedPacket inspected;
    MillionFlows million{true}, million_without{false};
    std::deque<Subject> subjects; // they do not move
    std::deque<Firewall> firewalls;
    std::deque<VariedFirewall> varied;
    std::deque<SetFirewall> sets;
    for (const auto& one : cases()) subjects.emplace_back(one);
    for (const unsigned count : {1, 10, 100, 1000, 10000})
        for (const bool of_rules : {true, false}) firewalls.emplace_back(count, of_rules);
    for (const unsigned count : {10, 10000})
        for (const bool spoofed : {false, true}) varied.emplace_back(count, spoofed);
    for (const unsigned count : {10, 1'000'000})
        for (const bool v4 : {true, false}) sets.emplace_back(count, v4);
    for (unsigned round = 1; round <= rounds; ++round) {
        std::map<std::string, double> ns;
        const auto take = [&](auto& subject) {
            ns[subject.name()] = subject.measure(repeat);
            print(subject.name(), "evnf", round, ns[subject.name()]);
        };
        print("empty-program", "kernel", round, empty_program_ns(repeat));
        for (auto& subject : subjects) take(subject);
        take(inspected);
        take(million_without);
        take(million);
        print_dpi_shares(ns, round);
        for (auto& one : varied) take(one);
        for (auto& set : sets) take(set);
        for (auto& firewall : firewalls) take(firewall);
    }
}

} // namespace

int main(int argc, char** argv)
try {
    if (argc != 3) throw std::invalid_argument{"usage: evnf_cost ROUNDS REPEAT"};
    measure(static_cast<unsigned>(std::stoul(argv[1])), static_cast<unsigned>(std::stoul(argv[2])));
} catch (const std::exception& error) {
    std::cerr << "evnf_cost: " << error.what() << "\n";
    return 1;
}
