// SPDX-License-Identifier: MIT
/// The flow log of dpi, on real files and sockets.
#include "../../plugins/dpi/flow_log.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <csignal>
#include <evnf/bpf.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "../../plugins/dpi/flow_line.hpp"
#include "catch.hpp"

using namespace std::chrono_literals;
using namespace evnf::dpi;
namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

std::vector<FlowLogTarget> read(const std::string& yaml, std::vector<std::string>& errors)
{
    evnf::Problems problems{"f"};
    const auto root = YAML::Load(yaml);
    auto targets = read_flow_log(evnf::Node{root, "flow_log", root.Mark(), problems});
    errors = problems.errors();
    return targets;
}

std::vector<FlowLogTarget> targets(const std::string& yaml)
{
    std::vector<std::string> errors;
    auto read_ones = read(yaml, errors);
    REQUIRE(errors.empty());
    return read_ones;
}

FlowRecord record(std::uint16_t client_port = 1234)
{
    FlowRecord record;
    record.key.address[0] = evnf::Address::parse("10.1.0.2")->raw;
    record.key.address[1] = evnf::Address::parse("10.2.0.2")->raw;
    record.key.port[0] = htons(443);
    record.key.port[1] = htons(client_port);
    record.key.vlan[0] = 7;
    record.key.vlan[1] = EVNF_NO_VLAN;
    record.key.protocol = IPPROTO_TCP;
    record.initiator = 1;
    record.start = std::chrono::system_clock::time_point{1'700'000'000'250ms};
    record.end = record.start + 1500ms;
    record.label = {.app = "TLS.Google", .category = "Web", .confidence = DPI_CONFIDENCE_DPI, .sni = "www.google.com"};
    record.state = DPI_CLASSIFIED;
    record.out = {10, 1000};
    record.back = {20, 20000};
    record.ended = FlowEnd::fin;
    return record;
}

/// A directory that is there as long as this object.
class Directory {
public:
    Directory() { REQUIRE(mkdtemp(path_.data())); }
    ~Directory() { fs::remove_all(path_); }
    std::string operator/(const std::string& name) const { return path_ + '/' + name; }

private:
    std::string path_ = "/tmp/evnf-flow-log-XXXXXX";
};

/// A logger whose lines are kept.
struct Lines {
    std::ostringstream text;
    spdlog::logger logger{"flow_log", std::make_shared<spdlog::sinks::ostream_sink_mt>(text)};
};

std::vector<std::string> lines_of(const std::string& path)
{
    std::ifstream file{path};
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
}

template <class Condition>
bool eventually(Condition condition)
{
    for (const auto end = std::chrono::steady_clock::now() + 10s; std::chrono::steady_clock::now() < end;) {
        if (condition()) return true;
        std::this_thread::sleep_for(2ms);
    }
    return false;
}

std::uint64_t written(const FlowLog& log)
{
    return log.status().at(0).written;
}

/// The sum over lines, whatever their type.
std::uint64_t packets_in(const std::vector<std::string>& lines)
{
    std::uint64_t sum = 0;
    for (const auto& line : lines) sum += json::parse(line).at("packets").to_number<std::uint64_t>();
    return sum;
}

/// A collector's end of a Unix socket.
class Collector {
public:
    Collector(const std::string& path, int type) : socket_{socket(AF_UNIX, type, 0)}, type_{type}
    {
        sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        REQUIRE(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
        const timeval patience{10, 0};
        setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (type == SOCK_STREAM) REQUIRE(listen(socket_.get(), 8) == 0);
    }

    void accept()
    {
        connection_ = evnf::Fd{::accept(socket_.get(), nullptr, nullptr)};
        REQUIRE(connection_);
        const timeval patience{10, 0};
        setsockopt(connection_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    void hang_up() { connection_ = evnf::Fd{}; }

    /// The next line, or datagram.
    std::string line()
    {
        std::string text;
        char bytes[4096];
        if (type_ == SOCK_DGRAM) {
            const auto size = recv(socket_.get(), bytes, sizeof bytes, 0);
            REQUIRE(size > 0);
            return {bytes, static_cast<std::size_t>(size)};
        }
        while (!text.ends_with('\n')) {
            REQUIRE(recv(connection_.get(), bytes, 1, 0) == 1);
            text += bytes[0];
        }
        return text;
    }

private:
    evnf::Fd socket_, connection_;
    int type_;
};

} // namespace

TEST_CASE("flow log: targets are told apart by how they begin")
{
    const auto all = targets("[/var/log/flows.json, 'unix:/run/c.sock', 'udp:10.0.0.1:514', 'tcp:[2001:db8::1]:9000', "
                             "'ipfix:10.0.0.1:4739', 'ipfix+tcp:10.0.0.1:4739']");
    using Kind = FlowLogTarget::Kind;
    REQUIRE(all.size() == 6);
    CHECK((all[0].kind == Kind::file && all[0].path == "/var/log/flows.json"));
    CHECK((all[1].kind == Kind::unix_socket && all[1].path == "/run/c.sock"));
    CHECK((all[2].kind == Kind::udp && all[2].endpoint.text() == "10.0.0.1:514"));
    CHECK((all[3].kind == Kind::tcp && all[3].endpoint.text() == "[2001:db8::1]:9000"));
    CHECK((all[4].kind == Kind::ipfix_udp && all[5].kind == Kind::ipfix_tcp));
    CHECK(targets("/var/log/flows.json").size() == 1);
}

TEST_CASE("flow log: a wrong target is refused where it stands")
{
    const auto error_of = [](const std::string& yaml) {
        std::vector<std::string> errors;
        (void)read(yaml, errors);
        REQUIRE(errors.size() == 1);
        return errors[0];
    };
    using Catch::Matchers::ContainsSubstring;
    CHECK_THAT(error_of("[/a,\n flows.json]"), ContainsSubstring("f:2:2: flow_log[1]: 'flows.json' is none of"));
    CHECK_THAT(error_of("unix:run/c.sock"), ContainsSubstring("no absolute path"));
    CHECK_THAT(error_of("unix:/" + std::string(120, 'x')), ContainsSubstring("more than 107 characters"));
    CHECK_THAT(error_of("/var/log/"), ContainsSubstring("names a directory"));
    CHECK_THAT(error_of("ipfix:collector:4739"), ContainsSubstring("'collector:4739' is no ADDRESS:PORT"));
    CHECK_THAT(error_of("[/a, /a]"), ContainsSubstring("twice"));
    CHECK_THAT(error_of("[/1, /2, /3, /4, /5, /6, /7, /8, /9]"), ContainsSubstring("more than 8 targets"));
}

TEST_CASE("flow log: a line has what is known of the flow, seen from who opened it")
{
    const auto line = flow_line(record());
    CHECK(line.ends_with('\n'));
    const auto flow = json::parse(line).as_object();
    const json::object wanted{
        {"type", "flow"},         {"start", "2023-11-14T22:13:20.250Z"}, {"end", "2023-11-14T22:13:21.750Z"},
        {"proto", "tcp"},         {"src", "10.2.0.2"},     {"sport", 1234}, {"dst", "10.1.0.2"},  {"dport", 443},
        {"app", "TLS.Google"},    {"category", "Web"},     {"confidence", "DPI"}, {"state", "classified"},
        {"packets", 30},          {"bytes", 21000},        {"packets_out", 10},   {"packets_back", 20},
        {"bytes_out", 1000},      {"bytes_back", 20000},   {"reason", "fin"},     {"gap", false},
        {"vlan", 7},              {"sni", "www.google.com"},
    };
    for (const auto& [key, value] : wanted) CHECK(flow.at(key) == value);
    CHECK(flow.size() == wanted.size());
}

TEST_CASE("flow log: a name of any bytes makes a line of ASCII")
{
    auto strange = record();
    strange.label.sni = "a\xff\n\"b";
    CHECK(json::parse(flow_line(strange)).at("sni") == "a??\"b");
}

TEST_CASE("flow log: a file gets every record, in order, before the log is gone")
{
    const Directory directory;
    Lines lines;
    {
        FlowLog log{lines.logger};
        log.use(targets(directory / "flows.json"));
        for (std::uint16_t port = 1; port <= 1000; ++port) log.write(record(port));
        log.write_aggregate("evicted", "DNS", 5, 50, 500);
    }
    const auto written_lines = lines_of(directory / "flows.json");
    REQUIRE(written_lines.size() == 1001);
    for (std::uint16_t port = 1; port <= 1000; ++port) REQUIRE(json::parse(written_lines[port - 1U]).at("sport") == port);
    const auto aggregate = json::parse(written_lines.back());
    CHECK(aggregate.at("type") == "aggregate");
    CHECK(aggregate.at("reason") == "evicted");
    CHECK(aggregate.at("app") == "DNS");
    CHECK(packets_in(written_lines) == 1000 * 30 + 50);
    CHECK(lines.text.str().empty());
}

TEST_CASE("flow log: a file that was moved away is made anew at the next reload, nobody else may read it")
{
    const Directory directory;
    Lines lines;
    FlowLog log{lines.logger};
    const auto path = directory / "flows.json";
    log.use(targets(path));
    log.write(record(1));
    REQUIRE(eventually([&] { return written(log) == 1; }));
    fs::rename(path, path + ".1");
    log.use(targets(path));
    REQUIRE(eventually([&] { return fs::exists(path); }));
    CHECK((fs::status(path).permissions() & fs::perms::others_all) == fs::perms::none);
    log.write(record(2));
    REQUIRE(eventually([&] { return written(log) == 2; }));
    CHECK(lines_of(path + ".1").size() == 1);
    CHECK(lines_of(path).size() == 1);
}

TEST_CASE("flow log: a full disk is told of once, leaves no half line, and nothing is missing when there is room again")
{
    // A limit of the process's own stands for the disk's.
    rlimit former{};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &former) == 0);
    struct sigaction ignore {}, former_action {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGXFSZ, &ignore, &former_action);
    const Directory directory;
    Lines lines;
    const auto path = directory / "flows.json";
    FlowLog log{lines.logger};
    log.use(targets(path));
    log.write(record(1));
    REQUIRE(eventually([&] { return written(log) == 1; }));
    const auto size = fs::file_size(path);
    const rlimit tight{size + size / 2, former.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &tight) == 0);
    log.write(record(2));
    log.write(record(3));
    const bool was_told = eventually([&] { return !log.status()[0].problem.empty(); });
    const auto size_then = fs::file_size(path);
    const auto waiting = log.status()[0].waiting;
    setrlimit(RLIMIT_FSIZE, &former);
    CHECK(was_told);
    CHECK(size_then == size);
    CHECK(waiting == 2);
    CHECK(eventually([&] { return log.status()[0].written == 3 && log.status()[0].problem.empty(); }));
    sigaction(SIGXFSZ, &former_action, nullptr);
    CHECK(lines_of(path).size() == 3);
    const auto text = lines.text.str();
    CHECK(std::count(text.begin(), text.end(), '\n') == 2); // for the worse, for the better
    CHECK_THAT(text, Catch::Matchers::ContainsSubstring("can be written to again"));
}

TEST_CASE("flow log: what cannot be opened is told of and holds up nothing")
{
    const Directory directory;
    Lines lines;
    FlowLog log{lines.logger};
    REQUIRE(mkfifo((directory / "fifo").c_str(), 0600) == 0);
    log.use(targets("[" + (directory / "none/flows.json") + ", " + (directory / "fifo") + ", " + (directory / "good") + "]"));
    log.write(record());
    REQUIRE(eventually([&] { return log.status()[2].written == 1 && !log.status()[0].problem.empty() && !log.status()[1].problem.empty(); }));
    CHECK_THAT(log.status()[0].problem, Catch::Matchers::ContainsSubstring("No such file or directory"));
    const auto before = std::chrono::steady_clock::now();
    for (int i = 0; i < 1000; ++i) log.write(record());
    CHECK(std::chrono::steady_clock::now() - before < 1s);
}

TEST_CASE("flow log: a Unix socket gets lines as a stream or as datagrams, whichever it is")
{
    const Directory directory;
    Lines lines;
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
        Collector collector{directory / std::to_string(type), type};
        FlowLog log{lines.logger};
        log.use(targets("unix:" + (directory / std::to_string(type))));
        log.write(record(1));
        log.write(record(2));
        if (type == SOCK_STREAM) collector.accept();
        CHECK(collector.line() == flow_line(record(1)));
        CHECK(collector.line() == flow_line(record(2)));
    }
}

TEST_CASE("flow log: a collector that goes and comes back gets what was written meanwhile")
{
    const Directory directory;
    Lines lines;
    FlowLog log{lines.logger};
    auto collector = std::make_unique<Collector>(directory / "socket", SOCK_STREAM);
    log.use(targets("unix:" + (directory / "socket")));
    collector->accept();
    log.write(record(1));
    CHECK(collector->line() == flow_line(record(1)));

    collector.reset();
    fs::remove(directory / "socket");
    log.write(record(2));
    REQUIRE(eventually([&] { return !log.status()[0].problem.empty(); }));
    log.write(record(3));
    collector = std::make_unique<Collector>(directory / "socket", SOCK_STREAM);
    collector->accept();
    CHECK(collector->line() == flow_line(record(2)));
    CHECK(collector->line() == flow_line(record(3)));
    CHECK(log.status()[0].lost == 0);
}

TEST_CASE("flow log: above its bound records are lost, counted, and told of in the log so that its sums are right")
{
    constexpr std::uint64_t kRecords = 70000, kRoom = 65536;
    const Directory directory;
    Lines lines;
    FlowLog log{lines.logger};
    const auto path = directory / "late/flows.json";
    log.use(targets(path));
    REQUIRE(eventually([&] { return !log.status()[0].problem.empty(); }));
    for (std::uint64_t i = 0; i < kRecords; ++i) log.write(record());
    CHECK(log.status()[0].waiting == kRoom);
    CHECK(log.status()[0].lost == kRecords - kRoom);
    fs::create_directory(directory / "late");
    REQUIRE(eventually([&] { return written(log) == kRoom + 1; }));
    const auto written_lines = lines_of(path);
    CHECK(packets_in(written_lines) == kRecords * 30);
    const auto last = json::parse(written_lines.back());
    CHECK(last.at("reason") == "lost");
    CHECK(last.at("flows") == kRecords - kRoom);
    CHECK_THAT(lines.text.str(), Catch::Matchers::ContainsSubstring("others are lost"));
}

TEST_CASE("flow log: a target that leaves the configuration still gets what waits for it")
{
    const Directory directory;
    Lines lines;
    FlowLog log{lines.logger};
    log.use(targets(directory / "old"));
    for (int i = 0; i < 500; ++i) log.write(record());
    log.use(targets(directory / "new"));
    log.write(record());
    REQUIRE(eventually([&] { return written(log) == 1; }));
    CHECK(eventually([&] { return lines_of(directory / "old").size() == 500; }));
    CHECK(lines_of(directory / "new").size() == 1);
}

TEST_CASE("flow log: its end does not wait for a target that is away, and says what is missing")
{
    const Directory directory;
    Lines lines;
    const auto before = std::chrono::steady_clock::now();
    {
        FlowLog log{lines.logger};
        log.use(targets("unix:" + (directory / "nobody")));
        log.write(record());
    }
    CHECK(std::chrono::steady_clock::now() - before < 5s);
    CHECK_THAT(lines.text.str(), Catch::Matchers::ContainsSubstring("closed, and 1 entries were not written"));
}
