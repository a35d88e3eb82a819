// SPDX-License-Identifier: MIT
/// XDP links: the only tie between a port and a generation.
#pragma once

#include <spdlog/logger.h>

#include <map>
#include <optional>
#include <string>

#include "generation.hpp"
#include "settings.hpp"
#include "state.hpp"

namespace evnf {

/// What a port is to be attached to.
struct AttachmentPlan {
    std::string port;
    std::uint32_t ifindex;
    Hook hook;
    int program;
};

/// The pinned links of all ports. A link that is found pinned is taken over, so that the port is never without a
/// program.
class Attachments {
public:
    Attachments(const PinDirectory& pins, spdlog::logger& log);

    /// Pins the programs as the next entries: the part of swap() that concerns pins and can fail.
    void prepare(const std::vector<AttachmentPlan>& plans) const;
    /// Points every port at its new program, making links where there are none. All or nothing: on failure the ports
    /// that were done go back to the program that they had, new links are removed, and the reason is thrown.
    void swap(const std::vector<AttachmentPlan>& plans);
    /// Detaches the ports that are not in `ports`.
    void keep_only(const std::vector<std::string>& ports);
    void detach_all();

    /// The hook in use, or nothing where the port is not attached.
    std::optional<Hook> hook(const std::string& port) const;

private:
    struct Link {
        Fd fd;
        std::uint32_t ifindex = 0;
        Hook hook = Hook::native;
        int program = -1;   ///< that it points at; the descriptor is the generation's, or the next member's
        Fd adopted_program; ///< of an earlier daemon
    };

    Link create(const AttachmentPlan& plan) const;
    std::optional<Link> adopt(const std::string& port) const;
    void check_hook(const Link& link, const AttachmentPlan& plan) const;
    void keep_programs(const std::vector<AttachmentPlan>& plans) const noexcept;
    void roll_back(const std::vector<AttachmentPlan>& done, const std::map<std::string, int>& before);

    const PinDirectory& pins_;
    spdlog::logger& log_;
    std::map<std::string, Link> links_;
};

/// "native" or "generic".
const char* hook_name(Hook hook);

} // namespace evnf
