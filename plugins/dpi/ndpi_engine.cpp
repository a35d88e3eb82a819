// SPDX-License-Identifier: MIT
#include "ndpi_engine.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <evnf/address.hpp>
#include <evnf/bpf.hpp>
#include <mutex>
#include <stdexcept>

// A C library's header: its own casts and members are not ours to mend.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#include <ndpi_api.h>
#pragma GCC diagnostic pop

#ifdef EVNF_DPI_FAULTS // tests only: see tests/e2e/dpi_faults
#include "faults.hpp"
#endif

// What changed from release to release of nDPI; written against 4.2 to 4.8.
#define NDPI_AT_LEAST(major, minor) (NDPI_MAJOR > (major) || (NDPI_MAJOR == (major) && NDPI_MINOR >= (minor)))

namespace evnf::dpi {

namespace {

#if NDPI_AT_LEAST(4, 8)
constexpr auto guess_v4 = ndpi_guess_undetected_protocol_v4;
#else
constexpr auto guess_v4 = ndpi_guess_undetected_protocol;
#endif

dpi_confidence stable(ndpi_confidence_t confidence)
{
    switch (confidence) {
    case NDPI_CONFIDENCE_UNKNOWN: return DPI_CONFIDENCE_UNKNOWN;
    case NDPI_CONFIDENCE_MATCH_BY_PORT: return DPI_CONFIDENCE_PORT;
#if !NDPI_AT_LEAST(4, 6) || NDPI_AT_LEAST(4, 8)
    case NDPI_CONFIDENCE_MATCH_BY_IP: return DPI_CONFIDENCE_ADDRESS;
#endif
#if NDPI_AT_LEAST(4, 4)
    case NDPI_CONFIDENCE_DPI_PARTIAL:
    case NDPI_CONFIDENCE_DPI_PARTIAL_CACHE: return DPI_CONFIDENCE_PARTIAL;
#endif
    case NDPI_CONFIDENCE_DPI_CACHE: return DPI_CONFIDENCE_DPI_CACHE;
    default: return DPI_CONFIDENCE_DPI;
    }
}

Label name(ndpi_detection_module_struct* module, const ndpi_protocol& protocol, dpi_confidence confidence)
{
    char text[DPI_NAME_SIZE];
    Label label;
    label.app = ndpi_protocol2name(module, protocol, text, sizeof text);
    label.category = ndpi_category_get_name(module, protocol.category);
    // What the operator's own protocol is, the operator says: ports and addresses are no guess then.
    const bool own = protocol.app_protocol >= NDPI_MAX_SUPPORTED_PROTOCOLS;
    label.confidence = own && confidence < DPI_CONFIDENCE_DPI_CACHE ? DPI_CONFIDENCE_RULE : confidence;
    return label;
}

/// Has nDPI read rules from memory: it only reads from files.
void load_rules(ndpi_detection_module_struct* module, const std::string& rules)
{
    if (rules.empty()) return;
    const Fd file{memfd_create("evnf-dpi-protocols", MFD_CLOEXEC)};
    if (!file) throw_errno(errno, "cannot make a memory file for protocols_file");
    if (write(file.get(), rules.data(), rules.size()) != static_cast<ssize_t>(rules.size()))
        throw_errno(errno, "cannot write the memory file for protocols_file");
    const auto path = fmt::format("/proc/self/fd/{}", file.get());
    if (ndpi_load_protocols_file(module, path.c_str()) != 0)
        throw std::runtime_error{"nDPI refuses protocols_file"};
}

} // namespace

std::vector<std::string_view> risk_names(std::uint64_t risk)
{
    std::vector<std::string_view> names;
    for (int bit = 0; bit < NDPI_MAX_RISK; ++bit)
        if (risk >> bit & 1) names.emplace_back(ndpi_risk2str(static_cast<ndpi_risk_enum>(bit)));
    return names;
}

Engine::Engine(const std::string& protocols)
{
    // nDPI forbids to initialise two modules at the same time.
    static std::mutex one_at_a_time;
    const std::lock_guard lock{one_at_a_time};
    module_ = ndpi_init_detection_module(ndpi_no_prefs);
    if (!module_) throw std::runtime_error{"nDPI cannot make a detection module"};
    NDPI_PROTOCOL_BITMASK all;
    NDPI_BITMASK_SET_ALL(all);
    ndpi_set_protocol_detection_bitmask2(module_, &all);
    try {
        load_rules(module_, protocols);
    } catch (...) {
        ndpi_exit_detection_module(module_);
        throw;
    }
    ndpi_finalize_initialization(module_);
}

Engine::~Engine()
{
    ndpi_exit_detection_module(module_);
}

Label Engine::guess(const dpi_key& key, unsigned initiator) const
{
    const std::lock_guard lock{mutex_};
    const unsigned from = initiator & 1, to = from ^ 1;
    const bool v4 = Address::from(key.address[0]).is_v4();
    const auto ask = [&](bool by_address) {
        const auto host = [&](unsigned end) { return v4 && by_address ? ntohl(key.address[end].words[3]) : 0; };
        return guess_v4(module_, nullptr, key.protocol, host(from), ntohs(key.port[from]), host(to), ntohs(key.port[to]));
    };
    const auto protocol = ask(true);
    if (protocol.app_protocol == NDPI_PROTOCOL_UNKNOWN) return {};
    const bool by_port = protocol.app_protocol == ask(false).app_protocol;
    return name(module_, protocol, by_port ? DPI_CONFIDENCE_PORT : DPI_CONFIDENCE_ADDRESS);
}

Vocabulary Engine::vocabulary() const
{
    Vocabulary all;
    for (unsigned id = 0; id < ndpi_get_num_supported_protocols(module_); ++id)
        all.apps.emplace_back(ndpi_get_proto_name(module_, static_cast<std::uint16_t>(id)));
    for (int id = 0; id < NDPI_PROTOCOL_NUM_CATEGORIES; ++id)
        all.categories.emplace_back(ndpi_category_get_name(module_, static_cast<ndpi_protocol_category_t>(id)));
    for (int id = 0; id < NDPI_MAX_RISK; ++id) all.risks.emplace_back(ndpi_risk2str(static_cast<ndpi_risk_enum>(id)));
    return all;
}

Inspection::Inspection(std::shared_ptr<Engine> engine)
    : engine_{std::move(engine)}, flow_{static_cast<ndpi_flow_struct*>(ndpi_flow_malloc(sizeof *flow_))}
{
    if (!flow_) throw std::bad_alloc{};
    std::memset(flow_, 0, sizeof *flow_);
}

Inspection::~Inspection()
{
    ndpi_free_flow(flow_);
}

bool Inspection::feed(std::span<const std::byte> packet, std::uint64_t time_ms, bool from_initiator)
{
    const std::lock_guard lock{engine_->mutex_};
    const auto length = static_cast<unsigned short>(std::min<std::size_t>(packet.size(), DPI_LARGE_COPY));
    std::memcpy(engine_->packet_, packet.data(), length);
    std::memset(engine_->packet_ + length, 0, Engine::kTail);
#ifdef EVNF_DPI_FAULTS
    provoke_fault(packet);
#endif
#if NDPI_AT_LEAST(4, 6)
    ndpi_flow_input_info input{};
    input.in_pkt_dir = from_initiator ? NDPI_IN_PKT_DIR_C_TO_S : NDPI_IN_PKT_DIR_S_TO_C;
    const auto protocol =
        ndpi_detection_process_packet(engine_->module_, flow_, engine_->packet_, length, time_ms, &input);
#else
    (void)from_initiator; // takes the lower port for the server's
    const auto protocol = ndpi_detection_process_packet(engine_->module_, flow_, engine_->packet_, length, time_ms);
#endif
    protocol_ = {protocol.master_protocol, protocol.app_protocol, protocol.category};
    return protocol_.app != NDPI_PROTOCOL_UNKNOWN && !ndpi_extra_dissection_possible(engine_->module_, flow_);
}

void Inspection::give_up()
{
    const std::lock_guard lock{engine_->mutex_};
    decide();
}

std::optional<Label> Inspection::give_up_within(std::chrono::milliseconds patience)
{
    const std::unique_lock lock{engine_->mutex_, patience};
    if (!lock) return std::nullopt;
    decide();
    return describe();
}

Label Inspection::label() const
{
    const std::lock_guard lock{engine_->mutex_};
    return describe();
}

void Inspection::decide()
{
    if (protocol_.app != NDPI_PROTOCOL_UNKNOWN) return;
    std::uint8_t guessed = 0;
    const auto protocol = ndpi_detection_giveup(engine_->module_, flow_, 1, &guessed);
    protocol_ = {protocol.master_protocol, protocol.app_protocol, protocol.category};
}

Label Inspection::guess()
{
    const std::lock_guard lock{engine_->mutex_};
    const auto flow = *flow_; // giving up changes it, and allocates nothing
    const auto protocol = protocol_;
    decide();
    auto label = describe();
    *flow_ = flow;
    protocol_ = protocol;
    return label;
}

Label Inspection::describe() const
{
    if (protocol_.app == NDPI_PROTOCOL_UNKNOWN && protocol_.master == NDPI_PROTOCOL_UNKNOWN) return {};
    ndpi_protocol protocol{};
    protocol.master_protocol = protocol_.master;
    protocol.app_protocol = protocol_.app;
    protocol.category = static_cast<ndpi_protocol_category_t>(protocol_.category);
    auto label = name(engine_->module_, protocol, stable(flow_->confidence));
    add_details(label);
    return label;
}

/// What nDPI keeps of protocols shares its place with that of others.
void Inspection::add_details(Label& label) const
{
    label.sni = speaks(NDPI_PROTOCOL_SSH) ? flow_->protos.ssh.client_signature : flow_->host_server_name;
    label.risk = flow_->risk;
    if (!speaks(NDPI_PROTOCOL_TLS) && !speaks(NDPI_PROTOCOL_QUIC)) return;
    label.ja3_client = flow_->protos.tls_quic.ja3_client;
    label.ja3_server = flow_->protos.tls_quic.ja3_server;
}

Engines::Engines(const std::string& protocols, unsigned workers) : for_questions_{protocols}
{
    for (unsigned worker = 0; worker < workers; ++worker) of_workers_.push_back(std::make_shared<Engine>(protocols));
}

} // namespace evnf::dpi
