/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Action: rewrite the source or the destination of a TCP or UDP packet, IPv4 or
 * IPv6, in the frame and in struct evnf_packet, with all checksums. The packet
 * must have its L4 header: no later fragment.
 *
 * Checksums follow by RFC 1624 from the difference between the old and the new
 * fields. In IPv4 it is taken over the mapped form: the words that both
 * addresses share add up to -0, which changes nothing.
 */
#pragma once

#include <stddef.h>

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "stage.bpf.h"

enum evnf_end { EVNF_SOURCE, EVNF_DESTINATION };

/* What replacing `from` by `to` adds to a one's-complement sum over it. */
static __always_inline __u32 evnf_address_difference(const union evnf_address *from,
						     const union evnf_address *to)
{
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)(__u32)~from->words[i] + to->words[i];
	return evnf_fold(sum);
}

static __always_inline bool evnf_write_address(evnf_ctx *ctx, const struct evnf_packet *pkt, enum evnf_end end,
					       const union evnf_address *address, __u32 difference)
{
	if (pkt->ip_version == 4) {
		struct iphdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));

		if (!ip)
			return false;
		*(end == EVNF_SOURCE ? &ip->saddr : &ip->daddr) = address->words[3];
		ip->check = evnf_checksum_add(ip->check, difference);
	} else {
		struct ipv6hdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));

		if (!ip)
			return false;
		__builtin_memcpy(end == EVNF_SOURCE ? &ip->saddr : &ip->daddr, address, sizeof(*address));
	}
	return true;
}

/* Source and destination port are the first two fields of TCP and UDP alike. */
static __always_inline bool evnf_write_port(evnf_ctx *ctx, const struct evnf_packet *pkt, enum evnf_end end,
					    __be16 port)
{
	struct udphdr *header = evnf_header(ctx, pkt->l4_offset, sizeof(*header));

	if (!header)
		return false;
	*(end == EVNF_SOURCE ? &header->source : &header->dest) = port;
	return true;
}

static __always_inline int evnf_rewrite(evnf_ctx *ctx, struct evnf_packet *pkt, enum evnf_end end,
					const union evnf_address *address, __be16 port)
{
	union evnf_address *old_address = end == EVNF_SOURCE ? &pkt->src : &pkt->dst;
	__be16 *old_port = end == EVNF_SOURCE ? &pkt->sport : &pkt->dport;
	__u32 addresses = evnf_address_difference(old_address, address);
	__u32 ports = evnf_fold((__u16)~*old_port + (__u32)port);
	bool is_udp = pkt->protocol == IPPROTO_UDP;
	__u32 checksum = is_udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check);

	if (!evnf_write_address(ctx, pkt, end, address, addresses) || !evnf_write_port(ctx, pkt, end, port) ||
	    !evnf_adjust_l4_checksum(ctx, pkt->l4_offset + checksum, addresses, ports, is_udp))
		return evnf_drop(EVNF_REASON_TRUNCATED);
	*old_address = *address;
	*old_port = port;
	if (end == EVNF_DESTINATION)
		pkt->readdressed = 1;
	return EVNF_NEXT;
}

/* EVNF_NEXT, or a drop where the frame lost a header that the entry saw. */
static __always_inline int evnf_rewrite_source(evnf_ctx *ctx, struct evnf_packet *pkt,
					       const union evnf_address *address, __be16 port)
{
	return evnf_rewrite(ctx, pkt, EVNF_SOURCE, address, port);
}

static __always_inline int evnf_rewrite_destination(evnf_ctx *ctx, struct evnf_packet *pkt,
						    const union evnf_address *address, __be16 port)
{
	return evnf_rewrite(ctx, pkt, EVNF_DESTINATION, address, port);
}

/* TTL or hop limit down by one; the IPv4 header checksum follows (RFC 1141). */
static __always_inline bool evnf_decrement_ttl(evnf_ctx *ctx, __u32 offset, __u8 ip_version)
{
	if (ip_version == 4) {
		struct iphdr *ip = evnf_header(ctx, offset, sizeof(*ip));
		__u32 sum;

		if (!ip)
			return false;
		sum = (__u32)ip->check + bpf_htons(0x0100);
		ip->check = sum + (sum >= 0xffff);
		ip->ttl--;
	} else {
		struct ipv6hdr *ip = evnf_header(ctx, offset, sizeof(*ip));

		if (!ip)
			return false;
		ip->hop_limit--;
	}
	return true;
}
