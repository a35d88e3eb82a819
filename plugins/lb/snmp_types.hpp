// SPDX-License-Identifier: MIT
/// What a question to an SNMP agent is made of.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace evnf::lb {

using Oid = std::vector<unsigned long>;

/// Reads ".1.3.6.1.2.1.1.3.0", with or without the first dot; nothing where the text is no numeric OID.
std::optional<Oid> parse_oid(std::string_view text);

enum class SnmpHash { sha1, sha224, sha256, sha384, sha512 };

/// A user of SNMPv3 (USM): always authenticated, encrypted (AES-128) where it has a privacy password.
struct SnmpUser {
    std::string name;
    SnmpHash hash = SnmpHash::sha1;
    std::string auth_password; ///< both of 8 characters and more: RFC 3414
    std::optional<std::string> privacy_password;

    bool operator==(const SnmpUser&) const = default;
};

/// Who asks: a community (SNMPv2c) or a user (SNMPv3).
using SnmpIdentity = std::variant<std::string, SnmpUser>;

} // namespace evnf::lb
