/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The VIPs, for packets that have no ports. */
#pragma once

#include "evnf/stage.bpf.h"
#include "lb_shared.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LB_MAX_SERVICES);
	__type(key, union evnf_address);
	__type(value, struct lb_vip);
} lb_vips SEC(".maps");

static __always_inline const struct lb_vip *lb_find_vip(const union evnf_address *address)
{
	return bpf_map_lookup_elem(&lb_vips, address);
}

/*
 * Can a service of the VIP have meant a later fragment with this protocol, or
 * an echo request to it have brought it? In IPv6, an extension header behind
 * the fragment's may hide what it is.
 */
static __always_inline bool lb_may_be_for(const struct lb_vip *vip, const struct evnf_packet *pkt)
{
	switch (pkt->protocol) {
	case IPPROTO_TCP:
		return vip->tcp;
	case IPPROTO_UDP:
		return vip->udp;
	case IPPROTO_ICMP:
		return pkt->ip_version == 4 && !vip->local;
	case IPPROTO_ICMPV6:
		return pkt->ip_version == 6 && !vip->local;
	case IPPROTO_DSTOPTS:
	case IPPROTO_AH:
		return pkt->ip_version == 6;
	default:
		return false;
	}
}
