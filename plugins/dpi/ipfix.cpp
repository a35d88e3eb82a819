// SPDX-License-Identifier: MIT
#include "ipfix.hpp"

#include <arpa/inet.h>
#include <fixbuf/public.h>

#include <algorithm>
#include <cstring>
#include <evnf/address.hpp>
#include <stdexcept>
#include <utility>
#include <vector>

namespace evnf::dpi {

namespace {

using std::chrono::system_clock;

constexpr std::size_t kMessageSize = 1400; // goes into one packet nearly everywhere
constexpr std::chrono::minutes kRepeat{1};

/// flowEndReason (element 136).
enum : std::uint8_t { kIdleTimeout = 1, kEndOfFlow = 3, kLackOfResources = 5 };

/// A flow as libfixbuf reads it: numbers in host order, no padding.
struct Flow {
    std::uint64_t start_ms, end_ms;
    std::uint64_t octets, reverse_octets, packets, reverse_packets;
    fbVarfield_t app, category;
    std::uint8_t source6[16], destination6[16];
    std::uint32_t source4, destination4;
    std::uint16_t source_port, destination_port;
    std::uint16_t vlan, inner_vlan; // 0: none
    std::uint8_t protocol;
    std::uint8_t end_reason;
    std::uint8_t biflow_direction;
    std::uint8_t padding[5];
};

enum : std::uint32_t { kIpv4 = 1, kIpv6 = 2, kInMemory = 4 }; // which templates have an element
constexpr std::uint32_t kAll = 0;

constexpr std::uint8_t kInitiator = 1; // biflowDirection: the source is the initiator

fbInfoElementSpec_t element(const char* name, std::uint16_t size, std::uint32_t templates = kAll)
{
    return {const_cast<char*>(name), size, templates}; // libfixbuf only reads it
}

std::vector<fbInfoElementSpec_t> flow_elements()
{
    return {
        element("flowStartMilliseconds", 8),
        element("flowEndMilliseconds", 8),
        element("layer2OctetTotalCount", 8),
        element("reverseLayer2OctetTotalCount", 8),
        element("packetTotalCount", 8),
        element("reversePacketTotalCount", 8),
        element("applicationName", FB_IE_VARLEN),
        element("applicationCategoryName", FB_IE_VARLEN),
        element("sourceIPv6Address", 16, kIpv6),
        element("destinationIPv6Address", 16, kIpv6),
        element("sourceIPv4Address", 4, kIpv4),
        element("destinationIPv4Address", 4, kIpv4),
        element("sourceTransportPort", 2),
        element("destinationTransportPort", 2),
        element("vlanId", 2),
        element("dot1qCustomerVlanId", 2),
        element("protocolIdentifier", 1),
        element("flowEndReason", 1),
        element("biflowDirection", 1),
        element("paddingOctets", 5, kInMemory),
        FB_IESPEC_NULL,
    };
}

/// Packets without a flow of their own.
struct Aggregate {
    std::uint64_t time_ms;
    std::uint64_t octets, packets, flows;
    fbVarfield_t app;
    std::uint8_t end_reason;
    std::uint8_t padding[7];
};

std::vector<fbInfoElementSpec_t> aggregate_elements()
{
    return {
        element("flowEndMilliseconds", 8),
        element("layer2OctetTotalCount", 8),
        element("packetTotalCount", 8),
        element("deltaFlowCount", 8),
        element("applicationName", FB_IE_VARLEN),
        element("flowEndReason", 1),
        element("paddingOctets", 7, kInMemory),
        FB_IESPEC_NULL,
    };
}

enum Template : std::uint16_t { kFlowInMemory = 256, kAggregateInMemory, kFlowV4, kFlowV6, kAggregate };

std::uint64_t milliseconds(system_clock::time_point time)
{
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count());
}

fbVarfield_t text(const std::string& from)
{
    // libfixbuf only reads it.
    return {from.size(), reinterpret_cast<std::uint8_t*>(const_cast<char*>(from.data()))};
}

std::uint8_t end_reason(FlowEnd end)
{
    switch (end) {
    case FlowEnd::idle: return kIdleTimeout;
    default: return kEndOfFlow;
    }
}

Flow in_memory(const FlowRecord& record)
{
    const auto& key = record.key;
    const unsigned from = record.initiator & 1, to = from ^ 1;
    const auto vlan = [&](int tag) { return key.vlan[tag] == EVNF_NO_VLAN ? std::uint16_t{0} : key.vlan[tag]; };
    Flow flow{};
    flow.start_ms = milliseconds(record.start);
    flow.end_ms = milliseconds(record.end);
    flow.octets = record.out.bytes;
    flow.reverse_octets = record.back.bytes;
    flow.packets = record.out.packets;
    flow.reverse_packets = record.back.packets;
    flow.app = text(record.label.app);
    flow.category = text(record.label.category);
    std::memcpy(flow.source6, key.address[from].bytes, sizeof flow.source6);
    std::memcpy(flow.destination6, key.address[to].bytes, sizeof flow.destination6);
    flow.source4 = ntohl(key.address[from].words[3]);
    flow.destination4 = ntohl(key.address[to].words[3]);
    flow.source_port = ntohs(key.port[from]);
    flow.destination_port = ntohs(key.port[to]);
    flow.vlan = vlan(0);
    flow.inner_vlan = vlan(1);
    flow.protocol = key.protocol;
    flow.end_reason = end_reason(record.ended);
    flow.biflow_direction = kInitiator;
    return flow;
}

Aggregate in_memory(const FlowAggregate& from)
{
    Aggregate aggregate{};
    aggregate.time_ms = milliseconds(from.time);
    aggregate.octets = from.bytes;
    aggregate.packets = from.packets;
    aggregate.flows = from.flows;
    aggregate.app = text(from.app);
    aggregate.end_reason = kLackOfResources;
    return aggregate;
}

struct ErrorDeleter {
    void operator()(GError* error) const { g_error_free(error); }
};
using Error = std::unique_ptr<GError, ErrorDeleter>;

[[noreturn]] void raise(GError* error)
{
    const Error owner{error};
    throw std::runtime_error(std::string{"libfixbuf: "} + (error ? error->message : "no reason given"));
}

} // namespace

class IpfixEncoder::Session {
public:
    Session() : model_{fbInfoModelAlloc()}, session_{fbSessionAlloc(model_.get())}
    {
        add(flow_elements(), kFlowInMemory, kIpv4 | kIpv6 | kInMemory, true);
        add(flow_elements(), kFlowV4, kIpv4, false);
        add(flow_elements(), kFlowV6, kIpv6, false);
        add(aggregate_elements(), kAggregateInMemory, kInMemory, true);
        add(aggregate_elements(), kAggregate, kAll, false);
        // The buffer owns the session and the exporter from here on.
        exporter_ = fbExporterAllocBuffer(message_, sizeof message_);
        buffer_.reset(fBufAllocForExport(session_, exporter_));
        fBufSetAutomaticMode(buffer_.get(), false);
    }

    std::string templates()
    {
        GError* error = nullptr;
        // In this mode only does it begin a message where it must. All templates fit into one.
        fBufSetAutomaticMode(buffer_.get(), true);
        const bool exported = fbSessionExportTemplates(session_, &error);
        fBufSetAutomaticMode(buffer_.get(), false);
        if (!exported) raise(error);
        return emit();
    }

    /// False where the message has no room for it.
    bool append(const FlowRecord& record)
    {
        auto flow = in_memory(record);
        const bool is_v4 = Address::from(record.key.address[0]).is_v4();
        return append(kFlowInMemory, is_v4 ? kFlowV4 : kFlowV6, &flow, sizeof flow);
    }

    bool append(const FlowAggregate& from)
    {
        auto aggregate = in_memory(from);
        return append(kAggregateInMemory, kAggregate, &aggregate, sizeof aggregate);
    }

    std::string emit()
    {
        GError* error = nullptr;
        if (!fBufEmit(buffer_.get(), &error)) raise(error);
        is_empty_ = true;
        return {reinterpret_cast<const char*>(message_), fbExporterGetMsgLen(exporter_)};
    }

private:
    struct Deleter {
        void operator()(fbInfoModel_t* model) const { fbInfoModelFree(model); }
        void operator()(fBuf_t* buffer) const { fBufFree(buffer); }
    };

    void add(std::vector<fbInfoElementSpec_t> elements, Template id, std::uint32_t templates, bool internal)
    {
        // libfixbuf takes an element whose flags are all among those asked for.
        auto* const layout = fbTemplateAlloc(model_.get());
        GError* error = nullptr;
        if (!fbTemplateAppendSpecArray(layout, elements.data(), templates, &error)) raise(error);
        if (!fbSessionAddTemplate(session_, internal, id, layout, &error)) raise(error);
    }

    bool append(Template in_memory, Template exported, void* record, std::size_t size)
    {
        GError* error = nullptr;
        if (!fBufSetInternalTemplate(buffer_.get(), in_memory, &error)) raise(error);
        if (!fBufSetExportTemplate(buffer_.get(), exported, &error)) raise(error);
        while (!fBufAppend(buffer_.get(), static_cast<std::uint8_t*>(record), size, &error)) {
            if (!g_error_matches(error, FB_ERROR_DOMAIN, FB_ERROR_EOM)) raise(error);
            // The first one after templates is refused, to begin a message; the message has begun by then.
            if (!std::exchange(is_empty_, false)) {
                g_error_free(error);
                return false;
            }
            g_clear_error(&error);
        }
        is_empty_ = false;
        return true;
    }

    std::uint8_t message_[kMessageSize];
    bool is_empty_ = true;
    std::unique_ptr<fbInfoModel_t, Deleter> model_;
    fbSession_t* session_;
    fbExporter_t* exporter_ = nullptr;
    std::unique_ptr<fBuf_t, Deleter> buffer_; // before the model goes
};

IpfixEncoder::IpfixEncoder(bool datagrams) : session_{std::make_unique<Session>()}, repeats_{datagrams} {}

IpfixEncoder::~IpfixEncoder() = default;

std::string IpfixEncoder::preamble()
{
    const auto now = std::chrono::steady_clock::now();
    if (now < repeat_at_) return {};
    repeat_at_ = repeats_ ? now + kRepeat : std::chrono::steady_clock::time_point::max();
    return session_->templates();
}

std::size_t IpfixEncoder::encode(FlowLogEntries entries, std::string& piece)
{
    std::size_t count = 0;
    const auto append = [this](const auto& entry) { return session_->append(entry); };
    while (count < entries.size() && std::visit(append, *entries[count])) ++count;
    if (count == 0) throw std::runtime_error{"a record that fits no message"};
    piece = session_->emit();
    return count;
}

} // namespace evnf::dpi
