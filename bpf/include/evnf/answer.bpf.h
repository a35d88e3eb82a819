/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What it takes to turn a packet into its own answer (EVNF_REPLY). */
#pragma once

#include <linux/if_ether.h>

#include "stage.bpf.h"

enum { EVNF_ANSWER_TTL = 64 };

/* One station's address that another can answer to: not multicast, broadcast, unspecified or loopback. */
static __always_inline bool evnf_is_one_station(const union evnf_address *address, __u8 ip_version)
{
	__u8 first = address->bytes[12];

	if (ip_version == 4)
		return first != 0 && first != 127 && first < 224;
	return address->bytes[0] != 0xff && (address->halves[0] || bpf_be64_to_cpu(address->halves[1]) > 1);
}

/* Did it come to this station alone? */
static __always_inline bool evnf_is_link_unicast(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	const struct ethhdr *eth = pkt->bare ? NULL : evnf_header(ctx, 0, sizeof(*eth));

	return !eth || !(eth->h_dest[0] & 1);
}

static __always_inline bool evnf_turn_link(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	struct ethhdr *eth = evnf_header(ctx, 0, sizeof(*eth));
	__u8 mac[ETH_ALEN];

	if (pkt->bare)
		return true;
	if (!eth)
		return false;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	return true;
}
