// SPDX-License-Identifier: MIT
/// What outlives a worker that nDPI kills: which flow each one is inspecting, and which flows were never to be
/// inspected again. In memory of the kernel's (state maps dpi_breadcrumbs and dpi_quarantine), so that no system call
/// is needed on the way, and a process that dies has nothing left to do.
#pragma once

#include <atomic>
#include <cstdint>
#include <evnf/mapped_array.hpp>
#include <evnf/plugin.hpp>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "dpi_workers.h"

namespace evnf::dpi {

/// "tcp 10.1.0.2:1234 - 10.2.0.2:80"
std::string endpoints(const dpi_key& key);

/// Breadcrumbs are written by their worker's thread; the quarantine is thread-safe.
class Breadcrumbs {
public:
    /// In memory of this process only: nothing outlives it.
    Breadcrumbs();
    /// Throws std::system_error.
    explicit Breadcrumbs(const Maps& maps);

    /// While it lives, the worker is inspecting that flow.
    class Scope {
    public:
        Scope(dpi_breadcrumb& crumb, std::uint64_t id, const dpi_key& key, std::uint64_t since) : crumb_{crumb}
        {
            crumb_.since = since;
            crumb_.key = key;
            std::atomic_ref{crumb_.id}.store(id, std::memory_order_release);
        }
        ~Scope() { std::atomic_ref{crumb_.id}.store(0, std::memory_order_release); }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

    private:
        dpi_breadcrumb& crumb_;
    };
    dpi_breadcrumb& of(unsigned worker) { return crumbs_[worker]; }

    /// Puts in quarantine what was being inspected when an earlier process died, and says what that is. To be called
    /// before any worker works.
    std::vector<dpi_breadcrumb> collect();
    bool is_quarantined(std::uint64_t id) const;
    /// Flows that were ever put in quarantine.
    std::uint64_t quarantined() const;

private:
    MappedArray<dpi_breadcrumb> mapped_crumbs_;
    MappedArray<dpi_quarantine> mapped_quarantine_;
    std::vector<dpi_breadcrumb> own_crumbs_;
    std::vector<dpi_quarantine> own_quarantine_;
    std::span<dpi_breadcrumb> crumbs_;
    mutable std::mutex mutex_; // of the quarantine
    dpi_quarantine* quarantine_;
};

} // namespace evnf::dpi
