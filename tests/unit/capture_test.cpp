// SPDX-License-Identifier: MIT
#include "evnfd/capture.hpp"

#include <pcap/pcap.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "catch.hpp"

using evnf::CaptureReader;
using evnf::CaptureWriter;
using evnf::Frame;
using namespace std::chrono_literals;
using Bytes = std::vector<unsigned char>;

namespace {

constexpr auto kSomeTime = 1700000000s + 123456789ns;

/// A directory that goes away with the test.
struct TemporaryDirectory {
    std::filesystem::path path;

    TemporaryDirectory()
    {
        std::string name = (std::filesystem::temp_directory_path() / "evnf-capture-XXXXXX").string();
        path = mkdtemp(name.data());
    }
    ~TemporaryDirectory() { std::filesystem::remove_all(path); }
    std::string file(const std::string& name) const { return (path / name).string(); }
};

std::string write_pcap(const TemporaryDirectory& directory, int link_type, const std::vector<Bytes>& packets)
{
    const std::string path = directory.file("test.pcap");
    pcap_t* capture = pcap_open_dead_with_tstamp_precision(link_type, 65535, PCAP_TSTAMP_PRECISION_NANO);
    pcap_dumper_t* dumper = pcap_dump_open(capture, path.c_str());
    REQUIRE(dumper);
    for (const Bytes& packet : packets) {
        pcap_pkthdr header{};
        header.ts = {1700000000, 123456789};
        header.caplen = header.len = static_cast<bpf_u_int32>(packet.size());
        pcap_dump(reinterpret_cast<u_char*>(dumper), &header, packet.data());
    }
    pcap_dump_close(dumper);
    pcap_close(capture);
    return path;
}

void write_file(const std::string& path, const Bytes& bytes)
{
    std::ofstream{path, std::ios::binary}.write(reinterpret_cast<const char*>(bytes.data()),
                                                static_cast<std::streamsize>(bytes.size()));
}

Bytes octets(const Frame& frame)
{
    Bytes out;
    for (const std::byte b : frame.bytes) out.push_back(std::to_integer<unsigned char>(b));
    return out;
}

Bytes operator+(Bytes left, const Bytes& right)
{
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

Frame only_frame(const std::string& path)
{
    CaptureReader reader{path};
    const std::optional<Frame> frame = reader.next();
    REQUIRE(frame);
    CHECK_FALSE(reader.next());
    return *frame;
}

const Bytes kIpv4{0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2};
const Bytes kIpv6 = Bytes{0x60, 0, 0, 0, 0, 0, 59, 64} + Bytes(32, 1);
const Bytes kEthernet{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0};
const Bytes kMadeUp{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
const Bytes kTypeIpv4{0x08, 0x00}, kTypeIpv6{0x86, 0xdd};

std::string failure_of_next(CaptureReader& reader)
{
    try {
        reader.next();
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "";
}

} // namespace

TEST_CASE("capture: an Ethernet frame arrives as it was captured")
{
    const TemporaryDirectory directory;
    const Frame frame = only_frame(write_pcap(directory, DLT_EN10MB, {kEthernet + kIpv4}));
    CHECK(octets(frame) == kEthernet + kIpv4);
    CHECK(frame.time == kSomeTime);
    CHECK(frame.unusable.empty());
    CHECK_FALSE(frame.synthetic_ethernet);
}

TEST_CASE("capture: an empty capture has no frames")
{
    const TemporaryDirectory directory;
    CaptureReader reader{write_pcap(directory, DLT_EN10MB, {})};
    CHECK_FALSE(reader.next());
}

TEST_CASE("capture: raw IP gets an Ethernet header by its version")
{
    const TemporaryDirectory directory;
    CaptureReader reader{write_pcap(directory, DLT_RAW, {kIpv4, kIpv6, {0x10, 0}, {}})};
    Frame frame = *reader.next();
    CHECK(octets(frame) == kMadeUp + kTypeIpv4 + kIpv4);
    CHECK(frame.synthetic_ethernet);
    CHECK(octets(*reader.next()) == kMadeUp + kTypeIpv6 + kIpv6);
    CHECK(reader.next()->unusable == "neither IPv4 nor IPv6");
    CHECK(reader.next()->unusable == "neither IPv4 nor IPv6");
    CHECK_FALSE(reader.next());
}

TEST_CASE("capture: Linux cooked frames keep their ethertype")
{
    const TemporaryDirectory directory;
    const Bytes sll = Bytes{0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0};
    const Bytes sll2 = Bytes(18, 0);
    CHECK(octets(only_frame(write_pcap(directory, DLT_LINUX_SLL, {sll + kTypeIpv6 + kIpv6}))) ==
          kMadeUp + kTypeIpv6 + kIpv6);
    CHECK(octets(only_frame(write_pcap(directory, DLT_LINUX_SLL2, {kTypeIpv4 + sll2 + kIpv4}))) ==
          kMadeUp + kTypeIpv4 + kIpv4);
}

TEST_CASE("capture: a cooked frame without an ethertype is unusable")
{
    const TemporaryDirectory directory;
    const Bytes llc = Bytes(14, 0) + Bytes{0, 4} + kIpv4;
    CHECK(only_frame(write_pcap(directory, DLT_LINUX_SLL, {llc})).unusable ==
          "protocol 0x0004 is no ethertype");
    CHECK(only_frame(write_pcap(directory, DLT_LINUX_SLL, {Bytes(15, 0)})).unusable ==
          "shorter than its link header");
}

TEST_CASE("capture: null frames are read in either byte order")
{
    const TemporaryDirectory directory;
    for (const Bytes& family : {Bytes{2, 0, 0, 0}, Bytes{0, 0, 0, 2}})
        CHECK(octets(only_frame(write_pcap(directory, DLT_NULL, {family + kIpv4}))) ==
              kMadeUp + kTypeIpv4 + kIpv4);
    for (const unsigned char family : {10, 24, 28, 30})
        CHECK(octets(only_frame(write_pcap(directory, DLT_LOOP, {Bytes{0, 0, 0, family} + kIpv6}))) ==
              kMadeUp + kTypeIpv6 + kIpv6);
    CHECK(only_frame(write_pcap(directory, DLT_NULL, {Bytes{7, 0, 0, 0} + kIpv4})).unusable ==
          "address family 7 is neither IPv4 nor IPv6");
}

TEST_CASE("capture: frames of an unknown link type are unusable and say so")
{
    const TemporaryDirectory directory;
    CHECK(only_frame(write_pcap(directory, DLT_IEEE802_11, {kIpv4})).unusable ==
          "link type IEEE802_11 is not supported");
}

TEST_CASE("capture: a frame shorter than an Ethernet header is unusable")
{
    const TemporaryDirectory directory;
    CHECK(only_frame(write_pcap(directory, DLT_EN10MB, {Bytes(13, 0)})).unusable ==
          "shorter than an Ethernet header");
}

TEST_CASE("capture: a frame cut by the snap length is unusable, those after it are read")
{
    const TemporaryDirectory directory;
    const std::string path = write_pcap(directory, DLT_EN10MB, {kEthernet + kIpv4, kEthernet + kIpv4});
    std::fstream file{path, std::ios::in | std::ios::out | std::ios::binary};
    file.seekp(24 + 12); // file header, and the first record's time and captured length
    const std::uint32_t original = 1514;
    file.write(reinterpret_cast<const char*>(&original), sizeof original);
    file.close();
    CaptureReader reader{path};
    CHECK(reader.next()->unusable == "cut short by the capture: 34 of 1514 bytes");
    CHECK(reader.next()->unusable.empty());
}

TEST_CASE("capture: pcapng is read too")
{
    const TemporaryDirectory directory;
    const std::string path = directory.file("test.pcapng");
    const Bytes section{0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
                        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 28, 0, 0, 0};
    const Bytes interface{1, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 4, 0, 20, 0, 0, 0};
    // 1.5 s after the epoch in microseconds; 34 bytes padded to 36
    const Bytes packet = Bytes{6, 0, 0, 0, 68, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x60, 0xe3, 0x16, 0,
                               34, 0, 0, 0, 34, 0, 0, 0} + kEthernet + kIpv4 + Bytes{0, 0, 68, 0, 0, 0};
    write_file(path, section + interface + packet);
    const Frame frame = only_frame(path);
    CHECK(octets(frame) == kEthernet + kIpv4);
    CHECK(frame.time == 1500ms);
}

TEST_CASE("capture: a half-written last packet is an error that names it, after those before")
{
    const TemporaryDirectory directory;
    const std::string path = write_pcap(directory, DLT_EN10MB, {kEthernet + kIpv4, kEthernet + kIpv4});
    std::filesystem::resize_file(path, std::filesystem::file_size(path) - 5);
    CaptureReader reader{path};
    CHECK(octets(*reader.next()) == kEthernet + kIpv4);
    const std::string failure = failure_of_next(reader);
    CHECK_THAT(failure, Catch::Matchers::StartsWith(path + ": packet 2: "));
    CHECK(failure.find("truncated") != std::string::npos);
}

TEST_CASE("capture: a record of an impossible length is an error")
{
    const TemporaryDirectory directory;
    const std::string path = write_pcap(directory, DLT_EN10MB, {kEthernet + kIpv4});
    std::fstream file{path, std::ios::in | std::ios::out | std::ios::binary};
    file.seekp(24 + 8);
    file.write("\xff\xff\xff\xff", 4);
    file.close();
    CaptureReader reader{path};
    CHECK_THAT(failure_of_next(reader), Catch::Matchers::StartsWith(path + ": packet 1: "));
}

TEST_CASE("capture: a file that is no capture, and one that is not there, are named")
{
    const TemporaryDirectory directory;
    const std::string path = directory.file("text");
    write_file(path, Bytes(64, 'x'));
    CHECK_THROWS_WITH(CaptureReader{path}, Catch::Matchers::StartsWith(path + ": "));
    CHECK_THROWS_WITH(CaptureReader{directory.file("none")},
                      directory.file("none") + ": No such file or directory");
}

TEST_CASE("capture: what is written is read back, bytes and time")
{
    const TemporaryDirectory directory;
    const std::string path = directory.file("out.pcap");
    const Bytes bytes = kEthernet + kIpv6;
    CaptureWriter writer{path};
    writer.write(std::as_bytes(std::span{bytes}), kSomeTime);
    writer.close();
    const Frame frame = only_frame(path);
    CHECK(octets(frame) == bytes);
    CHECK(frame.time == kSomeTime);
}

TEST_CASE("capture: a full disk is reported when the writer is closed")
{
    const Bytes bytes = kEthernet + kIpv4;
    CaptureWriter writer{"/dev/full"};
    writer.write(std::as_bytes(std::span{bytes}), kSomeTime);
    CHECK_THROWS_WITH(writer.close(), Catch::Matchers::StartsWith("cannot write /dev/full"));
}
