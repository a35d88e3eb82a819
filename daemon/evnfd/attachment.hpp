// SPDX-License-Identifier: MIT
/// The ties between interfaces and a generation: an XDP link or a tc filter takes a port's packets into its chain, and
/// more tc filters take packets through the kernel and back.
#pragma once

#include <spdlog/logger.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "generation.hpp"
#include "settings.hpp"
#include "state.hpp"
#include "tc_filter.hpp"

namespace evnf {

/// What a port is to be attached to; the descriptors are the generation's.
struct AttachmentPlan {
    Device device; ///< its name is the port's
    Hook hook;
    Entries entries;
};

/// What goes to tc beside the chains; the descriptors are the generation's.
struct TcPrograms {
    int handover, resume;
};

/// What was done, to be undone from the last step to the first unless it is kept.
class Undo {
public:
    explicit Undo(spdlog::logger& log) : log_{log} {}
    ~Undo();
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;

    void add(std::function<void()> step) { steps_.push_back(std::move(step)); }
    void keep() noexcept { steps_.clear(); }

private:
    spdlog::logger& log_;
    std::vector<std::function<void()>> steps_;
};

/// XDP links are pinned, and a link that is found pinned is taken over; tc filters stay by themselves. So a port is never
/// without its chain, whatever becomes of the daemon.
class Attachments {
public:
    Attachments(const PinDirectory& pins, spdlog::logger& log);

    /// Pins the programs as the next ones: the part of swap() that concerns pins and can fail.
    void prepare(const std::vector<AttachmentPlan>& plans, const TcPrograms& programs) const;
    /// Puts resume on every device, for what brings packets back stands before the first of them leaves.
    void cover(const std::vector<Device>& devices, int resume, Undo& undo);
    /// Points every port at its new program, in whatever mode it ran before. All or nothing: on failure every port is as it
    /// was, and the reason is thrown.
    void swap(const std::vector<AttachmentPlan>& plans, const TcPrograms& programs);
    /// Packets that leave by the device go on with their chain, from now on.
    void cover(const Device& device, int resume);
    /// Puts back the filters that somebody took off the device, and says so.
    void restore(unsigned ifindex);
    /// The device is gone, and what was attached to it.
    void forget(unsigned ifindex);
    /// Takes the port's chain off its interface, whatever that is called now.
    void detach(const std::string& port);
    /// Takes the resume filters off all devices.
    void uncover();
    /// Detaches the ports that are not in `ports`.
    void keep_only(const std::vector<std::string>& ports);
    void detach_all();

    /// The hook in use, or nothing where the port is not attached.
    std::optional<Hook> hook(const std::string& port) const;
    /// True where the port must go from one XDP mode to another: its chain then runs at tc in between.
    bool needs_bridge(const PortSettings& port) const;

private:
    struct Link {
        Fd fd;
        unsigned ifindex = 0;
        Hook hook = Hook::native;
        int program = -1;   ///< that it points at; the descriptor is the generation's, or the next member's
        Fd adopted_program; ///< of an earlier daemon
    };
    struct Filter {
        Device device;
        int program = -1;
        Fd adopted_program;
    };
    using Place = std::pair<unsigned, TcPoint>;

    void adopt_ports();
    void adopt_devices();
    std::optional<Link> adopt(const std::string& port) const;
    void keep_programs() const noexcept;
    void attach(const AttachmentPlan& plan, const TcPrograms& programs, Undo& undo);
    void set_link(const AttachmentPlan& plan, Undo& undo);
    void remove_link(const std::string& port, Undo& undo);
    void set(const Device& device, TcPoint point, int program, Undo& undo);
    void remove(const Place& place);
    Link create(const AttachmentPlan& plan) const;

    const PinDirectory& pins_;
    spdlog::logger& log_;
    std::map<std::string, Link> links_;
    std::map<std::string, unsigned> tc_ports_; ///< whose chain runs at tc ingress; interface index
    std::map<Place, Filter> filters_;
};

/// "native", "generic" or "tc".
const char* hook_name(Hook hook);

} // namespace evnf
