// SPDX-License-Identifier: MIT
/// IPFIX of dpi's flow log, read by a collector of others': ipfixDump, of libfixbuf's tools.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>

#include "../../plugins/dpi/flow_log.hpp"
#include "../../plugins/dpi/ipfix.hpp"
#include "catch.hpp"

#include <evnf/bpf.hpp>

using namespace evnf::dpi;
using Catch::Matchers::ContainsSubstring;

namespace {

FlowRecord record(const std::string& client, const std::string& server)
{
    FlowRecord record;
    record.key.address[0] = evnf::Address::parse(client)->raw;
    record.key.address[1] = evnf::Address::parse(server)->raw;
    record.key.port[0] = htons(1234);
    record.key.port[1] = htons(443);
    record.key.vlan[0] = 7;
    record.key.vlan[1] = EVNF_NO_VLAN;
    record.key.protocol = IPPROTO_TCP;
    record.start = std::chrono::system_clock::time_point{std::chrono::milliseconds{1'700'000'000'250}};
    record.end = record.start + std::chrono::milliseconds{1500};
    record.label.app = "TLS.Google";
    record.label.category = "Web";
    record.out = {10, 1000};
    record.back = {20, 20000};
    record.ended = FlowEnd::fin;
    return record;
}

/// What ipfixDump reads out of messages.
std::string dump(const std::string& messages)
{
    std::string path = "/tmp/evnf-ipfix-XXXXXX";
    const evnf::Fd file{mkstemp(path.data())};
    REQUIRE(write(file.get(), messages.data(), messages.size()) == static_cast<ssize_t>(messages.size()));
    const auto command = "ipfixDump --in " + path + " 2>&1";
    std::string text;
    auto* const pipe = popen(command.c_str(), "r");
    REQUIRE(pipe);
    std::array<char, 4096> bytes;
    while (const auto size = fread(bytes.data(), 1, bytes.size(), pipe)) text.append(bytes.data(), size);
    CHECK(pclose(pipe) == 0);
    unlink(path.c_str());
    return text;
}

std::vector<std::shared_ptr<const FlowLogEntry>> entries(std::size_t count)
{
    return std::vector<std::shared_ptr<const FlowLogEntry>>(
        count, std::make_shared<const FlowLogEntry>(record("10.1.0.2", "10.2.0.2")));
}

std::size_t count_of(const std::string& text, const std::string& what)
{
    std::size_t count = 0;
    for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++count;
    return count;
}

/// A collector's UDP or TCP socket on 127.0.0.1.
class Collector {
public:
    explicit Collector(int type) : socket_{socket(AF_INET, type, 0)}
    {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        REQUIRE(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0);
        getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        if (type == SOCK_STREAM) REQUIRE(listen(socket_.get(), 1) == 0);
    }
    std::string endpoint() const { return "127.0.0.1:" + std::to_string(port_); }
    evnf::Fd accept() { return evnf::Fd{::accept(socket_.get(), nullptr, nullptr)}; }

    /// All that has come; for a stream, until its end.
    static std::string messages(int socket, int flags)
    {
        std::string all;
        std::array<char, 65536> bytes;
        for (ssize_t got; (got = recv(socket, bytes.data(), bytes.size(), flags)) > 0;)
            all.append(bytes.data(), static_cast<std::size_t>(got));
        return all;
    }
    int socket_fd() const { return socket_.get(); }

private:
    evnf::Fd socket_;
    unsigned port_;
};

} // namespace

TEST_CASE("ipfix: a collector reads flows of both IP versions and aggregates")
{
    IpfixEncoder encoder{false};
    auto messages = encoder.preamble();
    std::vector<std::shared_ptr<const FlowLogEntry>> all;
    all.push_back(std::make_shared<const FlowLogEntry>(record("10.1.0.2", "10.2.0.2")));
    all.push_back(std::make_shared<const FlowLogEntry>(record("2001:db8::1", "2001:db8::2")));
    all.push_back(std::make_shared<const FlowLogEntry>(FlowAggregate{"untracked", "DNS", 3, 300, 30000, {}}));
    std::string piece;
    REQUIRE(encoder.encode(all, piece) == 3);
    const auto text = dump(messages + piece);
    INFO(text);
    for (const auto* once : {"sourceIPv4Address : 10.1.0.2", "destinationIPv4Address : 10.2.0.2", "sourceIPv6Address : 2001:0db8::0001",
                             "destinationIPv6Address : 2001:0db8::0002", "(len: 3) DNS", " layer2OctetTotalCount : 30000", " packetTotalCount : 300",
                             "deltaFlowCount : 3", "3 Data Records, 3 Template Records"})
        CHECK(count_of(text, once) == 1);
    for (const auto* twice : {"flowStartMilliseconds : 2023-11-14 22:13:20.250", "flowEndMilliseconds : 2023-11-14 22:13:21.750",
                              " layer2OctetTotalCount : 1000", "reverseLayer2OctetTotalCount : 20000", " packetTotalCount : 10", "reversePacketTotalCount : 20",
                              "(len: 10) TLS.Google", "(len: 3) Web", "sourceTransportPort : 1234", "destinationTransportPort : 443", "vlanId : 7",
                              "dot1qCustomerVlanId : 0", "protocolIdentifier : 6", "biflowDirection : 1"})
        CHECK(count_of(text, std::string{twice} + "\n") == 2);
    CHECK(count_of(text, "flowEndReason : 3") == 2);
    CHECK(count_of(text, "flowEndReason : 5") == 1);
}

TEST_CASE("ipfix: a message is no larger than a packet, and nothing is missing over many")
{
    IpfixEncoder encoder{false};
    auto messages = encoder.preamble();
    const auto all = entries(1000);
    for (std::size_t done = 0; done < all.size();) {
        std::string piece;
        const auto count = encoder.encode(FlowLogEntries{all}.subspan(done), piece);
        REQUIRE(count > 0);
        REQUIRE(piece.size() <= 1400);
        done += count;
        messages += piece;
    }
    CHECK(count_of(dump(messages), "applicationName") >= 1000);
}

TEST_CASE("ipfix: templates go before the first message, over a stream only there")
{
    IpfixEncoder stream{false}, datagrams{true};
    for (auto* encoder : {&stream, &datagrams}) {
        CHECK_FALSE(encoder->preamble().empty());
        CHECK(encoder->preamble().empty());
    }
}

TEST_CASE("ipfix: the log speaks it over UDP and over TCP")
{
    spdlog::logger quiet{"flow_log", std::make_shared<spdlog::sinks::null_sink_mt>()};
    for (const int type : {SOCK_DGRAM, SOCK_STREAM}) {
        Collector collector{type};
        {
            FlowLog log{quiet};
            FlowLogTarget target;
            target.text = "test";
            target.kind = type == SOCK_DGRAM ? FlowLogTarget::Kind::ipfix_udp : FlowLogTarget::Kind::ipfix_tcp;
            target.endpoint = *evnf::Endpoint::parse(collector.endpoint());
            log.use({target});
            for (int i = 0; i < 25; ++i) log.write(record("10.1.0.2", "10.2.0.2"));
        }
        const auto connection = type == SOCK_STREAM ? collector.accept() : evnf::Fd{};
        const auto messages = connection ? Collector::messages(connection.get(), 0) : Collector::messages(collector.socket_fd(), MSG_DONTWAIT);
        CHECK(count_of(dump(messages), "TLS.Google") == 25);
    }
}
