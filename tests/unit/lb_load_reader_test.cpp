// SPDX-License-Identifier: MIT
/// Loads read from an agent on the loopback that answers what a test wants it to.
#include "../../plugins/lb/load_reader.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>

#include "catch.hpp"

namespace asio = boost::asio;
using asio::ip::udp;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using evnf::Address;
using evnf::lb::LoadReader;
using evnf::lb::LoadSource;
using evnf::lb::Oid;
using evnf::lb::SnmpAnswer;
using namespace std::chrono_literals;

namespace {

using Bytes = std::string;

/// BER: type, length (below 128), content.
Bytes tlv(unsigned char type, const Bytes& content)
{
    return Bytes{static_cast<char>(type), static_cast<char>(content.size())} + content;
}

/// The element at `from`, header included.
Bytes element(const Bytes& message, std::size_t from)
{
    return message.substr(from, 2 + static_cast<std::size_t>(message.at(from + 1)));
}

Bytes opaque_float(float value)
{
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    Bytes content{'\x9f', '\x78', '\x04'};
    for (int shift = 24; shift >= 0; shift -= 8) content += static_cast<char>(bits >> shift);
    return tlv(0x44, content);
}

Bytes text(const Bytes& value) { return tlv(0x04, value); }

/// Answers every GET with `value`, and every GETBULK with so many CPUs.
class Agent {
public:
    Agent(asio::io_context& io, const char* address) : socket_{io, {asio::ip::make_address(address), 0}} { receive(); }

    std::uint16_t port() const { return socket_.local_endpoint().port(); }

    Bytes value = tlv(0x02, Bytes(1, '\0'));
    std::optional<Bytes> garbage; ///< sent instead of an answer
    bool silent = false;
    int cpus = 4, counts = 0;

private:
    void receive()
    {
        socket_.async_receive_from(asio::buffer(buffer_), peer_, [this](boost::system::error_code error, std::size_t size) {
            if (error) return;
            const auto reply = garbage.value_or(answer(Bytes(buffer_.data(), size)));
            if (!silent) socket_.send_to(asio::buffer(reply), peer_);
            receive();
        });
    }

    /// SEQUENCE { version, community, PDU { request id, 0, 0, SEQUENCE { variables } } }
    Bytes answer(const Bytes& request)
    {
        const auto version = element(request, 2);
        const auto community = element(request, 2 + version.size());
        const auto pdu = 2 + version.size() + community.size();
        const auto id = element(request, pdu + 2);
        const auto error = element(request, pdu + 2 + id.size());
        const auto list = pdu + 2 + id.size() + 2 * error.size();
        const auto name = element(request, list + 4);
        const bool bulk = static_cast<unsigned char>(request.at(pdu)) == 0xa5;
        const auto zero = tlv(0x02, Bytes(1, '\0'));
        return tlv(0x30, version + community + tlv(0xa2, id + zero + zero + tlv(0x30, bulk ? rows(name) : tlv(0x30, name + value))));
    }

    Bytes rows(const Bytes& column)
    {
        ++counts;
        Bytes list;
        for (int cpu = 0; cpu < cpus; ++cpu) list += tlv(0x30, tlv(0x06, column.substr(2) + static_cast<char>(cpu + 1)) + tlv(0x02, Bytes(1, '\7')));
        return list + tlv(0x30, tlv(0x06, Bytes{'\x2b', '\6', '\1', '\2', '\1', '\x37'}) + Bytes{'\x82', '\0'}); // endOfMibView
    }

    udp::socket socket_;
    udp::endpoint peer_;
    std::array<char, 2048> buffer_{};
};

const Oid kUptime{1, 3, 6, 1, 2, 1, 1, 3, 0};
const Oid kLoadAverage{1, 3, 6, 1, 4, 1, 2021, 10, 1, 3, 1};

struct World {
    explicit World(const char* address = "127.0.0.1") : agent{io, address}, address_{*Address::parse(address)} {}

    LoadReader reader(const Oid& oid, std::optional<double> full, std::chrono::milliseconds timeout = 2s)
    {
        LoadSource source;
        source.port = agent.port();
        source.identity = std::string{"public"};
        source.oid = oid;
        source.full = full;
        return {io.get_executor(), address_, source, evnf::lb::make_snmp_credentials(source.identity), timeout};
    }

    SnmpAnswer read(LoadReader& reader)
    {
        std::optional<SnmpAnswer> result;
        reader.read([&](SnmpAnswer answer) { result = std::move(answer); });
        CHECK_FALSE(result); // never before the call has returned
        const auto end = std::chrono::steady_clock::now() + 10s;
        while (!result && std::chrono::steady_clock::now() < end) io.run_one_for(1s);
        REQUIRE(result);
        return *result;
    }

    SnmpAnswer read(const Bytes& value)
    {
        agent.value = value;
        auto reader = this->reader(kUptime, 1);
        return read(reader);
    }

    asio::io_context io;
    Agent agent;

private:
    Address address_;
};

} // namespace

TEST_CASE("lb load: every kind of number is read, from IPv4 and from IPv6")
{
    World world{GENERATE("127.0.0.1", "::1")};
    CHECK(world.read(tlv(0x02, "\x03")).value == 3); // INTEGER
    CHECK(world.read(tlv(0x42, Bytes{'\0', '\xff', '\xff', '\xff', '\xff'})).value == 4294967295.0); // Gauge32
    CHECK(world.read(text("0.31")).value == Approx(0.31));
    CHECK(world.read(text(" 12 \n")).value == 12);
    CHECK(world.read(opaque_float(0.25f)).value == 0.25);
}

TEST_CASE("lb load: what is no load is a failure that says why")
{
    World world;
    const auto why = [&](const Bytes& value) {
        const auto answer = world.read(value);
        CHECK_FALSE(answer.value);
        return answer.failure;
    };
    CHECK(why(text("high")) == "the value is a text that is no number");
    CHECK(why(text("")) == "the value is a text that is no number");
    CHECK(why(text("0.3x")) == "the value is a text that is no number");
    CHECK_THAT(why(text("nan")), StartsWith("the value is no load"));
    CHECK_THAT(why(text("inf")), StartsWith("the value is no load"));
    CHECK(why(text("-0.5")) == "the value is no load: -0.5");
    CHECK(why(tlv(0x02, "\xff")) == "the value is no load: -1");
    CHECK_THAT(why(opaque_float(std::nanf(""))), StartsWith("the value is no load"));
    CHECK(why(Bytes{'\x80', '\0'}) == "the agent has no such object");
    CHECK(why(Bytes{'\x81', '\0'}) == "the agent has no such instance");
    CHECK_THAT(why(tlv(0x41, "\x03")), ContainsSubstring("a type that is no number (0x41)")); // Counter32
}

TEST_CASE("lb load: silence and garbage end with the timeout, and are told apart")
{
    World world;
    auto reader = world.reader(kUptime, 1, 50ms);
    world.agent.silent = true;
    CHECK(world.read(reader).failure == "no answer in 50 ms");
    world.agent.silent = false;
    world.agent.garbage = "no BER at all";
    CHECK(world.read(reader).failure == "what came is no answer that could be read");
    world.agent.garbage.reset();
    CHECK(world.read(reader).value == 0);
}

TEST_CASE("lb load: a load average is divided by the CPUs, which are counted once, and again after a failure")
{
    World world;
    world.agent.value = text("2.00");
    auto reader = world.reader(kLoadAverage, std::nullopt, 100ms);
    CHECK(world.read(reader).value == 0.5);
    CHECK(world.read(reader).value == 0.5);
    CHECK(world.agent.counts == 1);
    world.agent.silent = true;
    CHECK_FALSE(world.read(reader).value);
    world.agent.silent = false;
    world.agent.cpus = 2;
    CHECK(world.read(reader).value == 1);
    world.agent.cpus = 0;
    auto other = world.reader(kLoadAverage, std::nullopt);
    CHECK_THAT(world.read(other).failure, ContainsSubstring("does not show its CPUs"));
}

TEST_CASE("lb load: many agents that hang do not hold the loop, nor does one that is asked no more")
{
    World world;
    world.agent.silent = true;
    std::vector<std::unique_ptr<LoadReader>> readers;
    int failures = 0;
    for (int i = 0; i < 200; ++i) {
        readers.emplace_back(new LoadReader(world.reader(kUptime, 1, 300ms)));
        readers.back()->read([&](const SnmpAnswer& answer) { failures += !answer.value; });
    }
    readers.resize(150);
    const auto start = std::chrono::steady_clock::now();
    while (failures < 150 && std::chrono::steady_clock::now() < start + 10s) {
        const auto turn = std::chrono::steady_clock::now();
        world.io.run_one_for(10ms);
        CHECK(std::chrono::steady_clock::now() - turn < 200ms); // one that waits would wait for 300 ms
    }
    world.io.run_for(400ms);
    CHECK(failures == 150);
}
