// SPDX-License-Identifier: MIT
/// Where the pieces of a flow log leave: a file, or a socket.
#pragma once

#include <memory>
#include <string_view>

#include "flow_log_settings.hpp"

namespace evnf::dpi {

/// Blocks, 2 s at most in each operation: for a thread of its own.
class Outlet {
public:
    virtual ~Outlet() = default;
    /// Takes the whole piece, or throws std::system_error: then a file is as it was before. A stream may have taken
    /// a part, and is to be closed.
    virtual void send(std::string_view piece) = 0;
};

/// Opens the file (made where there is none; regular files only), or connects the socket: a stream or, where the other
/// side of a Unix socket is that, datagrams. Throws std::system_error, which does not name the target.
std::unique_ptr<Outlet> open_outlet(const FlowLogTarget& target);

} // namespace evnf::dpi
