// SPDX-License-Identifier: MIT
#include "snmp.hpp"

#include <net-snmp/net-snmp-config.h>
// This order is net-snmp's own.
#include <net-snmp/net-snmp-includes.h>
#include <net-snmp/library/large_fd_set.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <cmath>
#include <stdexcept>

#include <fmt/format.h>

namespace evnf::lb {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kRowsAsked = 32; // of a table at once: the answer fits in one packet
constexpr std::size_t kMostRows = 4096;

/// Without net-snmp's configuration files, MIBs, state on disk and lines on standard error.
void set_up_library()
{
    static const bool once = [] {
        for (const int off : {NETSNMP_DS_LIB_DONT_READ_CONFIGS, NETSNMP_DS_LIB_DONT_PERSIST_STATE,
                              NETSNMP_DS_LIB_DISABLE_PERSISTENT_LOAD, NETSNMP_DS_LIB_DISABLE_PERSISTENT_SAVE})
            netsnmp_ds_set_boolean(NETSNMP_DS_LIBRARY_ID, off, 1);
        netsnmp_register_loghandler(NETSNMP_LOGHANDLER_NONE, LOG_DEBUG);
        char no_mibs[] = "mibs :";
        netsnmp_config_remember(no_mibs);
        init_snmp("evnfd");
        return true;
    }();
    (void)once;
}

struct AuthProtocol {
    oid* id;
    std::size_t length;
};

AuthProtocol protocol_of(SnmpHash hash)
{
    switch (hash) {
        case SnmpHash::sha1:
            return {usmHMACSHA1AuthProtocol, OID_LENGTH(usmHMACSHA1AuthProtocol)};
        case SnmpHash::sha224:
            return {usmHMAC128SHA224AuthProtocol, OID_LENGTH(usmHMAC128SHA224AuthProtocol)};
        case SnmpHash::sha256:
            return {usmHMAC192SHA256AuthProtocol, OID_LENGTH(usmHMAC192SHA256AuthProtocol)};
        case SnmpHash::sha384:
            return {usmHMAC256SHA384AuthProtocol, OID_LENGTH(usmHMAC256SHA384AuthProtocol)};
        case SnmpHash::sha512:
            return {usmHMAC384SHA512AuthProtocol, OID_LENGTH(usmHMAC384SHA512AuthProtocol)};
    }
    throw std::logic_error{"no such hash"};
}

/// A key that is bound to no agent yet (RFC 3414, A.2).
std::vector<u_char> key_of(SnmpHash hash, const std::string& password)
{
    const auto protocol = protocol_of(hash);
    std::vector<u_char> key(USM_AUTH_KU_LEN);
    std::size_t length = key.size();
    const auto* text = reinterpret_cast<const u_char*>(password.data());
    if (generate_Ku(protocol.id, static_cast<u_int>(protocol.length), text, password.size(), key.data(), &length) != SNMPERR_SUCCESS)
        throw std::runtime_error{"cannot make a key from a password of SNMPv3"};
    key.resize(length);
    return key;
}

u_char* bytes(const std::string& text)
{
    return const_cast<u_char*>(reinterpret_cast<const u_char*>(text.data())); // net-snmp copies it
}

} // namespace

class SnmpCredentials {
public:
    explicit SnmpCredentials(const SnmpIdentity& identity) : identity_{identity}
    {
        set_up_library();
        const auto* user = std::get_if<SnmpUser>(&identity_);
        if (!user) return;
        auth_key_ = key_of(user->hash, user->auth_password);
        if (user->privacy_password) privacy_key_ = key_of(user->hash, *user->privacy_password);
    }

    void apply(netsnmp_session& session) const
    {
        if (const auto* user = std::get_if<SnmpUser>(&identity_))
            apply(session, *user);
        else
            apply(session, std::get<std::string>(identity_));
    }

private:
    static void apply(netsnmp_session& session, const std::string& community)
    {
        session.version = SNMP_VERSION_2c;
        session.community = bytes(community);
        session.community_len = community.size();
    }

    void apply(netsnmp_session& session, const SnmpUser& user) const
    {
        const auto protocol = protocol_of(user.hash);
        session.version = SNMP_VERSION_3;
        session.flags |= SNMP_FLAGS_DONT_PROBE; // net-snmp's own discovery of the agent blocks
        session.securityModel = SNMP_SEC_MODEL_USM;
        session.securityName = const_cast<char*>(user.name.c_str());
        session.securityNameLen = user.name.size();
        session.securityLevel = user.privacy_password ? SNMP_SEC_LEVEL_AUTHPRIV : SNMP_SEC_LEVEL_AUTHNOPRIV;
        session.securityAuthProto = protocol.id;
        session.securityAuthProtoLen = protocol.length;
        session.securityAuthKeyLen = auth_key_.size();
        std::copy(auth_key_.begin(), auth_key_.end(), session.securityAuthKey);
        if (!user.privacy_password) return;
        session.securityPrivProto = usmAESPrivProtocol;
        session.securityPrivProtoLen = OID_LENGTH(usmAESPrivProtocol);
        session.securityPrivKeyLen = privacy_key_.size();
        std::copy(privacy_key_.begin(), privacy_key_.end(), session.securityPrivKey);
    }

    SnmpIdentity identity_;
    std::vector<u_char> auth_key_, privacy_key_;
};

std::shared_ptr<const SnmpCredentials> make_snmp_credentials(const SnmpIdentity& identity)
{
    return std::make_shared<const SnmpCredentials>(identity);
}

std::optional<Oid> parse_oid(std::string_view text)
{
    if (text.starts_with('.')) text.remove_prefix(1);
    Oid oid;
    for (;;) {
        std::uint32_t part = 0;
        const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), part);
        if (failed != std::errc{}) return std::nullopt;
        oid.push_back(part);
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        if (text.empty()) break;
        if (!text.starts_with('.')) return std::nullopt;
        text.remove_prefix(1);
    }
    const bool valid = oid.size() >= 2 && oid.size() <= MAX_OID_LEN && oid[0] <= 2 && (oid[0] == 2 || oid[1] < 40);
    return valid ? std::optional{oid} : std::nullopt;
}

// ---------------------------------------------------------------- answers

namespace {

/// One variable of an answer.
struct Variable {
    Oid name;
    SnmpAnswer content;
    bool exists; ///< not noSuchObject, noSuchInstance or endOfMibView
};

/// What came of a question: variables, or why there are none.
struct Reply {
    std::vector<Variable> variables;
    std::string failure;
};

SnmpAnswer read_text(const netsnmp_variable_list& variable)
{
    std::string_view text{reinterpret_cast<const char*>(variable.val.string), variable.val_len};
    while (!text.empty() && (text.back() == ' ' || text.back() == '\n' || text.back() == '\0')) text.remove_suffix(1);
    while (text.starts_with(' ')) text.remove_prefix(1);
    double value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed == std::errc{} && end == text.data() + text.size()) return {value, {}};
    return {std::nullopt, "the value is a text that is no number"};
}

SnmpAnswer read_value(const netsnmp_variable_list& variable)
{
    switch (variable.type) {
        case ASN_INTEGER:
            return {static_cast<double>(*variable.val.integer), {}};
        case ASN_GAUGE:
            return {static_cast<double>(static_cast<std::uint32_t>(*variable.val.integer)), {}};
        case ASN_OPAQUE_FLOAT:
            return {*variable.val.floatVal, {}};
        case ASN_OPAQUE_DOUBLE:
            return {*variable.val.doubleVal, {}};
        case ASN_OCTET_STR:
            return read_text(variable);
        case SNMP_NOSUCHOBJECT:
            return {std::nullopt, "the agent has no such object"};
        case SNMP_NOSUCHINSTANCE:
            return {std::nullopt, "the agent has no such instance"};
        case SNMP_ENDOFMIBVIEW:
            return {std::nullopt, "the agent has no such variable"};
        default:
            return {std::nullopt, fmt::format("the value has a type that is no number (0x{:02x})", variable.type)};
    }
}

Reply read_reply(const netsnmp_pdu& pdu)
{
    if (pdu.errstat != SNMP_ERR_NOERROR)
        return {{}, fmt::format("the agent refused: {}", snmp_errstring(static_cast<int>(pdu.errstat)))};
    Reply reply;
    for (const auto* variable = pdu.variables; variable; variable = variable->next_variable) {
        const bool exists = variable->type != SNMP_NOSUCHOBJECT && variable->type != SNMP_NOSUCHINSTANCE && variable->type != SNMP_ENDOFMIBVIEW;
        reply.variables.push_back({{variable->name, variable->name + variable->name_length}, read_value(*variable), exists});
    }
    return reply;
}

SnmpAnswer first_value(const Reply& reply)
{
    if (!reply.failure.empty()) return {std::nullopt, reply.failure};
    if (reply.variables.empty()) return {std::nullopt, "the agent's answer is empty"};
    return reply.variables.front().content;
}

bool is_below(const Oid& name, const Oid& root)
{
    return name.size() > root.size() && std::equal(root.begin(), root.end(), name.begin());
}

/// The user with no name that discovery asks as.
void ensure_nobody()
{
    if (usm_get_user(nullptr, 0, "")) return;
    auto* user = usm_create_user();
    if (!user) throw std::bad_alloc{};
    user->name = strdup("");
    user->secName = strdup("");
    user->userStatus = RS_ACTIVE;
    usm_add_user(user);
}

} // namespace

// ---------------------------------------------------------------- one agent

class SnmpAgent::Session : public std::enable_shared_from_this<Session> {
public:
    Session(const asio::any_io_executor& executor, const Address& address, std::uint16_t port,
            std::shared_ptr<const SnmpCredentials> credentials, std::chrono::milliseconds timeout)
        : peer_{address.is_v4() ? fmt::format("udp:{}:{}", address.text(), port) : fmt::format("udp6:[{}]:{}", address.text(), port)},
          credentials_{std::move(credentials)},
          timeout_{timeout},
          socket_{executor},
          timer_{executor}
    {
    }
    ~Session() { close(); }

    void get(const Oid& variable, Handler handler)
    {
        ask(SNMP_MSG_GET, variable, [handler = std::move(handler)](const Reply& reply) { handler(first_value(reply)); });
    }

    /// `known` rows are counted already, the last of them is `from`.
    void count_rows(const Oid& column, const Oid& from, std::size_t known, Handler handler)
    {
        ask(SNMP_MSG_GETBULK, from, [this, column, from, known, handler = std::move(handler)](const Reply& reply) {
            if (!reply.failure.empty()) return handler({std::nullopt, reply.failure});
            auto rows = known;
            auto last = from;
            for (const auto& variable : reply.variables) {
                if (!variable.exists || !is_below(variable.name, column) || variable.name <= last) return handler({static_cast<double>(rows), {}});
                last = variable.name; // an agent that goes in circles ends, too
                ++rows;
            }
            if (reply.variables.empty() || rows >= kMostRows) return handler({static_cast<double>(rows), {}});
            count_rows(column, last, rows, handler);
        });
    }

    /// No handler runs from now on.
    void abandon()
    {
        waiting_ = nullptr;
        timer_.cancel();
        close();
    }

private:
    using Waiting = std::function<void(const Reply&)>;

    void ask(int command, const Oid& variable, Waiting then)
    {
        if (const auto failure = open(); !failure.empty()) return answer_soon({{}, failure}, std::move(then));
        if (must_discover()) return discover(command, variable, std::move(then));
        auto* pdu = snmp_pdu_create(command);
        if (command == SNMP_MSG_GETBULK) {
            pdu->non_repeaters = 0;
            pdu->max_repetitions = kRowsAsked;
        }
        snmp_add_null_var(pdu, variable.data(), variable.size());
        send(pdu, [this, then = std::move(then)](const Reply& reply) {
            if (!reply.failure.empty()) close(); // the agent may be another one by now, with another engine
            then(reply);
        });
    }

    bool must_discover() const
    {
        const auto* session = snmp_sess_session(handle_);
        return session->version == SNMP_VERSION_3 && session->securityEngineIDLen == 0;
    }

    /// SNMPv3 encrypts for the agent's engine: its id is in the report that refuses a question without it.
    void discover(int command, const Oid& variable, Waiting then)
    {
        ensure_nobody();
        auto* pdu = snmp_pdu_create(SNMP_MSG_GET);
        pdu->version = SNMP_VERSION_3;
        pdu->securityName = strdup("");
        pdu->securityNameLen = 0;
        pdu->securityLevel = SNMP_SEC_LEVEL_NOAUTH;
        pdu->securityModel = SNMP_SEC_MODEL_USM;
        send(pdu, [this, command, variable, then = std::move(then)](const Reply& reply) {
            if (must_discover()) return then({{}, reply.failure.empty() ? "the agent does not tell its engine" : reply.failure});
            if (!make_user()) return then({{}, "cannot make keys for the agent's engine"});
            ask(command, variable, then);
        });
    }

    /// Users are the whole program's, by engine and name: one of before may have another password.
    bool make_user() const
    {
        auto* session = snmp_sess_session(handle_);
        if (auto* known = usm_get_user(session->securityEngineID, session->securityEngineIDLen, session->securityName)) {
            usm_remove_user(known);
            usm_free_user(known);
        }
        return usm_create_user_from_session(session) == SNMPERR_SUCCESS;
    }

    /// Why it cannot, or nothing.
    std::string open()
    {
        if (handle_) return {};
        netsnmp_session session;
        snmp_sess_init(&session);
        session.peername = peer_.data();
        session.retries = 0;
        session.timeout = std::chrono::microseconds{timeout_}.count();
        credentials_->apply(session);
        handle_ = snmp_sess_open(&session);
        if (!handle_) return fmt::format("cannot open a socket for {}: {}", peer_, snmp_api_errstring(session.s_snmp_errno));
        snmp_sess_session(handle_)->flags |= SNMP_FLAGS_DONT_PROBE; // opening it has taken the flag away
        socket_.assign(snmp_sess_transport(handle_)->sock);
        socket_.non_blocking(true);
        wait_for_packet();
        return {};
    }

    void close()
    {
        if (!handle_) return;
        socket_.release(); // net-snmp closes it
        snmp_sess_close(std::exchange(handle_, nullptr));
    }

    void send(netsnmp_pdu* pdu, Waiting then)
    {
        reply_.reset();
        unreadable_ = false;
        if (!snmp_sess_async_send(handle_, pdu, &Session::on_event, this)) {
            const auto* session = snmp_sess_session(handle_);
            Reply failed{{}, fmt::format("cannot send: {}{}", snmp_api_errstring(session->s_snmp_errno),
                                         session->s_errno ? fmt::format(" ({})", strerror(session->s_errno)) : "")};
            snmp_free_pdu(pdu);
            return answer_soon(std::move(failed), std::move(then));
        }
        waiting_ = std::move(then);
        wait_for_timeout();
    }

    void answer_soon(Reply reply, Waiting then)
    {
        waiting_ = std::move(then);
        reply_ = std::move(reply);
        asio::post(timer_.get_executor(), [weak = weak_from_this()] {
            if (const auto self = weak.lock()) self->deliver();
        });
    }

    void wait_for_packet()
    {
        socket_.async_wait(asio::posix::stream_descriptor::wait_read, [weak = weak_from_this()](const boost::system::error_code& error) {
            const auto self = weak.lock();
            if (!self || error || !self->handle_) return;
            self->read();
            self->wait_for_packet();
            self->deliver();
        });
    }

    void read()
    {
        const int socket = socket_.native_handle();
        netsnmp_large_fd_set ready;
        netsnmp_large_fd_set_init(&ready, socket + 1);
        netsnmp_large_fd_setfd(socket, &ready);
        if (snmp_sess_read2(handle_, &ready) != 0) unreadable_ = true;
        netsnmp_large_fd_set_cleanup(&ready);
    }

    /// net-snmp knows when: a question that an SNMPv3 agent wants dated anew goes out again.
    void wait_for_timeout()
    {
        netsnmp_large_fd_set unused;
        netsnmp_large_fd_set_init(&unused, FD_SETSIZE);
        int sockets = 0, none = 1;
        timeval left{};
        snmp_sess_select_info2(handle_, &sockets, &unused, &left, &none);
        netsnmp_large_fd_set_cleanup(&unused);
        if (none) return answer_soon({{}, "the answer was lost"}, std::exchange(waiting_, nullptr));
        timer_.expires_after(std::chrono::seconds{left.tv_sec} + std::chrono::microseconds{left.tv_usec} + std::chrono::milliseconds{1});
        timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
            const auto self = weak.lock();
            if (!self || error || !self->handle_) return;
            snmp_sess_timeout(self->handle_);
            if (!self->reply_) return self->wait_for_timeout();
            self->deliver();
        });
    }

    /// Called by net-snmp in the midst of its work: only takes notes.
    static int on_event(int operation, netsnmp_session*, int, netsnmp_pdu* pdu, void* self) noexcept
    try {
        static_cast<Session*>(self)->note(operation, *pdu);
        return 1;
    } catch (const std::exception&) { // no memory: the question times out
        return 1;
    }

    void note(int operation, netsnmp_pdu& pdu)
    {
        switch (operation) {
            case NETSNMP_CALLBACK_OP_RECEIVED_MESSAGE:
                if (pdu.command != SNMP_MSG_REPORT) reply_ = read_reply(pdu); // what becomes of a report is told
                break;
            case NETSNMP_CALLBACK_OP_TIMED_OUT:
                reply_ = Reply{{}, unreadable_ ? "what came is no answer that could be read" : fmt::format("no answer in {} ms", timeout_.count())};
                break;
            case NETSNMP_CALLBACK_OP_SEND_FAILED:
                reply_ = Reply{{}, "cannot send"};
                break;
            case NETSNMP_CALLBACK_OP_SEC_ERROR:
                reply_ = Reply{{}, fmt::format("the agent refused: {}", snmp_api_errstring(snmpv3_get_report_type(&pdu)))};
                break;
            default:
                break;
        }
    }

    /// May be the last that happens to this object.
    void deliver()
    {
        if (!reply_ || !waiting_) return;
        timer_.cancel();
        const auto waiting = std::exchange(waiting_, nullptr);
        const auto reply = *std::exchange(reply_, std::nullopt);
        waiting(reply);
    }

    std::string peer_;
    std::shared_ptr<const SnmpCredentials> credentials_;
    std::chrono::milliseconds timeout_;
    asio::posix::stream_descriptor socket_;
    asio::steady_timer timer_;
    void* handle_ = nullptr;
    Waiting waiting_;
    std::optional<Reply> reply_;
    bool unreadable_ = false; ///< something came that is no answer
};

SnmpAgent::SnmpAgent(asio::any_io_executor executor, const Address& address, std::uint16_t port,
                     std::shared_ptr<const SnmpCredentials> credentials, std::chrono::milliseconds timeout)
    : session_{std::make_shared<Session>(executor, address, port, std::move(credentials), timeout)}
{
}

SnmpAgent::~SnmpAgent()
{
    session_->abandon();
}

void SnmpAgent::get(const Oid& variable, Handler handler)
{
    session_->get(variable, std::move(handler));
}

void SnmpAgent::count_rows(const Oid& column, Handler handler)
{
    session_->count_rows(column, column, 0, std::move(handler));
}

} // namespace evnf::lb
