/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Action: mark a packet with a DSCP (RFC 2474), in the frame and in struct evnf_packet. Its ECN stays. */
#pragma once

#include <linux/ip.h>
#include <linux/ipv6.h>

#include "parser.bpf.h"

static __always_inline bool evnf_write_tos4(evnf_ctx *ctx, const struct evnf_packet *pkt, __u8 tos)
{
	struct iphdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));
	__u16 before, after;

	if (!ip)
		return false;
	before = bpf_htons(ip->tos);
	after = bpf_htons(tos);
	ip->tos = tos;
	ip->check = evnf_checksum_add(ip->check, (__u16)~before + after);
	return true;
}

/* The traffic class has the lower half of the first byte and the upper half of the second. */
static __always_inline bool evnf_write_tos6(evnf_ctx *ctx, const struct evnf_packet *pkt, __u8 tos)
{
	__u8 *ip = evnf_header(ctx, pkt->l3_offset, sizeof(struct ipv6hdr));

	if (!ip)
		return false;
	ip[0] = (ip[0] & 0xf0) | tos >> 4;
	ip[1] = (ip[1] & 0x0f) | tos << 4;
	return true;
}

/* False where the frame lost a header that the entry saw. */
static __always_inline bool evnf_write_dscp(evnf_ctx *ctx, struct evnf_packet *pkt, __u8 dscp)
{
	__u8 tos = dscp << 2 | (pkt->tos & 3);

	if (tos == pkt->tos)
		return true;
	if (!(pkt->ip_version == 4 ? evnf_write_tos4(ctx, pkt, tos) : evnf_write_tos6(ctx, pkt, tos)))
		return false;
	pkt->tos = tos;
	return true;
}
