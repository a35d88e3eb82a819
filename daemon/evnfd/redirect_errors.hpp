// SPDX-License-Identifier: MIT
/// How many frames an XDP program of ours sent that never left (bpf/redirect_errors.bpf.c).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

struct redirect_errors_bpf;

namespace spdlog {
class logger;
}

namespace evnf {

class RedirectErrors {
public:
    /// Starts to count. Warns where the kernel cannot (no BTF); then total() is nothing.
    explicit RedirectErrors(spdlog::logger& log);

    /// Only frames that arrived at these interfaces of the daemon's network namespace are counted.
    /// Throws std::system_error.
    void set_ports(const std::vector<unsigned>& ifindexes);

    /// Since the start of the daemon.
    std::optional<std::uint64_t> total() const;

private:
    struct Destroy {
        void operator()(redirect_errors_bpf* skeleton) const noexcept;
    };

    std::unique_ptr<redirect_errors_bpf, Destroy> skeleton_;
    std::vector<unsigned> ports_;
};

} // namespace evnf
