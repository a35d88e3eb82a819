// SPDX-License-Identifier: MIT
/// Catch2, version 3 or 2, whichever this system has.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
namespace Catch::Matchers {
inline auto ContainsSubstring(const std::string& text)
{
    return Contains(text);
}
} // namespace Catch::Matchers
#endif
