// SPDX-License-Identifier: MIT
#include "breadcrumbs.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <evnf/address.hpp>

namespace evnf::dpi {

std::string endpoints(const dpi_key& key)
{
    const auto protocol = key.protocol == IPPROTO_TCP   ? std::string{"tcp"}
                          : key.protocol == IPPROTO_UDP ? std::string{"udp"}
                                                        : fmt::format("protocol {}", key.protocol);
    return fmt::format("{} {}:{} - {}:{}", protocol, Address::from(key.address[0]).text(), ntohs(key.port[0]),
                       Address::from(key.address[1]).text(), ntohs(key.port[1]));
}

Breadcrumbs::Breadcrumbs()
    : own_crumbs_(DPI_MAX_WORKERS), own_quarantine_(1), crumbs_{own_crumbs_}, quarantine_{own_quarantine_.data()}
{
}

Breadcrumbs::Breadcrumbs(const Maps& maps)
    : mapped_crumbs_{maps.get("dpi_breadcrumbs"), DPI_MAX_WORKERS},
      mapped_quarantine_{maps.get("dpi_quarantine"), 1},
      crumbs_{mapped_crumbs_.rows()},
      quarantine_{mapped_quarantine_.rows().data()}
{
}

/// A crumb goes when its flow is in quarantine: who dies in between finds it there again, and counts it once.
std::vector<dpi_breadcrumb> Breadcrumbs::collect()
{
    std::vector<dpi_breadcrumb> found;
    for (auto& crumb : crumbs_) {
        if (!crumb.id) continue;
        if (!is_quarantined(crumb.id)) {
            const std::lock_guard lock{mutex_};
            quarantine_->ids[quarantine_->flows % DPI_QUARANTINE] = crumb.id;
            std::atomic_ref{quarantine_->flows}.fetch_add(1, std::memory_order_release);
        }
        found.push_back(crumb);
        std::atomic_ref{crumb.id}.store(0, std::memory_order_release);
    }
    return found;
}

bool Breadcrumbs::is_quarantined(std::uint64_t id) const
{
    const std::lock_guard lock{mutex_};
    const auto known = std::min<std::uint64_t>(quarantine_->flows, DPI_QUARANTINE);
    return std::find(quarantine_->ids, quarantine_->ids + known, id) != quarantine_->ids + known;
}

std::uint64_t Breadcrumbs::quarantined() const
{
    const std::lock_guard lock{mutex_};
    return quarantine_->flows;
}

} // namespace evnf::dpi
