/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The packet that an ICMP error quotes: whom it was from and to, and where in
 * the frame its headers are. Behind those, 8 bytes are all that an error must
 * quote of it.
 */
#pragma once

#include "parser.bpf.h"

enum { EVNF_QUOTED_EXTENSIONS = 4 }; /* of a quoted IPv6 packet; one with more is not recognised */

struct evnf_quoted {
	union evnf_address src, dst;
	__u32 l3_offset, l4_offset;
	__u8 protocol;
};

static __always_inline bool evnf_read_quoted4(evnf_ctx *ctx, struct evnf_quoted *quote)
{
	const struct iphdr *ip = evnf_header(ctx, quote->l3_offset, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(IP_OFFSET_MASK))
		return false;
	evnf_map_ipv4(&quote->src, ip->saddr);
	evnf_map_ipv4(&quote->dst, ip->daddr);
	quote->protocol = ip->protocol;
	quote->l4_offset = quote->l3_offset + ip->ihl * 4;
	return true;
}

/* The header of the protocol quote->protocol at quote->l4_offset is stepped over. */
static __always_inline bool evnf_step_over_quoted(evnf_ctx *ctx, struct evnf_quoted *quote)
{
	const __u8 *header = evnf_header(ctx, quote->l4_offset, 8);
	bool fragment = quote->protocol == IPPROTO_FRAGMENT;

	if (!header || (fragment && (header[2] || header[3] & 0xf8)))
		return false;
	quote->protocol = header[0];
	quote->l4_offset += fragment ? 8 : (header[1] + 1) * 8;
	return true;
}

static __always_inline bool evnf_read_quoted6(evnf_ctx *ctx, struct evnf_quoted *quote)
{
	const struct ipv6hdr *ip = evnf_header(ctx, quote->l3_offset, sizeof(*ip));

	if (!ip || ip->version != 6)
		return false;
	__builtin_memcpy(&quote->src, &ip->saddr, sizeof(quote->src));
	__builtin_memcpy(&quote->dst, &ip->daddr, sizeof(quote->dst));
	quote->protocol = ip->nexthdr;
	quote->l4_offset = quote->l3_offset + sizeof(*ip);
	for (int i = 0; i < EVNF_QUOTED_EXTENSIONS; i++) {
		__u8 protocol = quote->protocol;

		if (protocol != IPPROTO_HOPOPTS && protocol != IPPROTO_DSTOPTS && protocol != IPPROTO_ROUTING &&
		    protocol != IPPROTO_FRAGMENT)
			return true;
		if (!evnf_step_over_quoted(ctx, quote))
			return false;
	}
	return false;
}

/* Of an ICMP or ICMPv6 error. False for what quotes nothing whole, or a fragment that is not its packet's first. */
static __always_inline bool evnf_read_quoted(evnf_ctx *ctx, const struct evnf_packet *pkt, struct evnf_quoted *quote)
{
	if (pkt->fragment == EVNF_FRAGMENT_LATER)
		return false;
	quote->l3_offset = pkt->l4_offset + sizeof(struct evnf_icmp_header);
	return pkt->ip_version == 4 ? evnf_read_quoted4(ctx, quote) : evnf_read_quoted6(ctx, quote);
}
