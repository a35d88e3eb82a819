// SPDX-License-Identifier: MIT
/// What an operator can do about an error of the kernel, where the cause is known.
#pragma once

#include <string>

namespace evnf {

/// "WHAT: the kernel's text: remedy"; without the remedy where there is none to name.
std::string describe_errno(int error, const std::string& what);

/// Throws std::runtime_error with describe_errno().
[[noreturn]] void throw_with_hint(int error, const std::string& what);

} // namespace evnf
