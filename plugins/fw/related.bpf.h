/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* ICMP errors: they quote the packet that they are about, and belong to its connection. Part of connections.bpf.h. */
#pragma once

#include <linux/ip.h>
#include <linux/ipv6.h>

#include "connections.bpf.h"

enum { FW_QUOTED_EXTENSIONS = 4 }; /* of a quoted IPv6 packet; one with more is not recognised */

/* The packet that an error quotes, in the host's memory. */
struct fw_quoted {
	union evnf_address src, dst;
	__u32 l4_offset;
	__u8 protocol;
};

static __always_inline bool fw_read_quote4(evnf_ctx *ctx, __u32 offset, struct fw_quoted *quote)
{
	const struct iphdr *ip = evnf_header(ctx, offset, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
		return false;
	quote->src.halves[0] = quote->dst.halves[0] = 0;
	quote->src.words[2] = quote->dst.words[2] = bpf_htonl(0xffff);
	quote->src.words[3] = ip->saddr;
	quote->dst.words[3] = ip->daddr;
	quote->protocol = ip->protocol;
	quote->l4_offset = offset + ip->ihl * 4;
	return true;
}

/* The quoted header of the protocol `quote->protocol` at quote->l4_offset is stepped over. */
static __always_inline bool fw_step_over_extension(evnf_ctx *ctx, struct fw_quoted *quote)
{
	const __u8 *header = evnf_header(ctx, quote->l4_offset, 8);
	bool fragment = quote->protocol == IPPROTO_FRAGMENT;

	if (!header || (fragment && (header[2] || header[3] & 0xf8)))
		return false;
	quote->protocol = header[0];
	quote->l4_offset += fragment ? 8 : (header[1] + 1) * 8;
	return true;
}

static __always_inline bool fw_read_quote6(evnf_ctx *ctx, __u32 offset, struct fw_quoted *quote)
{
	const struct ipv6hdr *ip = evnf_header(ctx, offset, sizeof(*ip));

	if (!ip || ip->version != 6)
		return false;
	__builtin_memcpy(&quote->src, &ip->saddr, sizeof(quote->src));
	__builtin_memcpy(&quote->dst, &ip->daddr, sizeof(quote->dst));
	quote->protocol = ip->nexthdr;
	quote->l4_offset = offset + sizeof(*ip);
	for (int i = 0; i < FW_QUOTED_EXTENSIONS; i++) {
		__u8 protocol = quote->protocol;

		if (protocol != IPPROTO_HOPOPTS && protocol != IPPROTO_DSTOPTS && protocol != IPPROTO_ROUTING &&
		    protocol != IPPROTO_FRAGMENT)
			return true;
		if (!fw_step_over_extension(ctx, quote))
			return false;
	}
	return false;
}

/* What 8 bytes of the quoted L4 header tell. */
static __always_inline bool fw_read_quoted_l4(evnf_ctx *ctx, const struct fw_quoted *quote, struct fw_l4 *l4)
{
	const struct fw_icmp *header = evnf_header(ctx, quote->l4_offset, sizeof(*header));

	if (!header)
		return false;
	if (fw_is_icmp(quote->protocol)) {
		fw_name_query(l4, quote->protocol, header);
	} else if (quote->protocol == IPPROTO_TCP || quote->protocol == IPPROTO_UDP || quote->protocol == IPPROTO_SCTP) {
		l4->sport = ((const __be16 *)header)[0];
		l4->dport = ((const __be16 *)header)[1];
	}
	return true;
}

/* True where the error is about a packet of a connection, and goes to who sent that. Uses `key`. */
static __always_inline bool fw_is_related(evnf_ctx *ctx, const struct evnf_packet *pkt, struct fw_connection_key *key)
{
	__u32 offset = pkt->l4_offset + sizeof(struct fw_icmp);
	const struct fw_connection *connection;
	struct fw_quoted quote = {};
	struct fw_l4 l4 = {};

	if (pkt->fragment == EVNF_FRAGMENT_LATER)
		return false;
	if (!(pkt->ip_version == 4 ? fw_read_quote4(ctx, offset, &quote) : fw_read_quote6(ctx, offset, &quote)))
		return false;
	if (quote.src.halves[0] != pkt->dst.halves[0] || quote.src.halves[1] != pkt->dst.halves[1] ||
	    !fw_read_quoted_l4(ctx, &quote, &l4))
		return false;
	fw_set_key(key, &quote.src, &quote.dst, &l4, quote.protocol);
	connection = bpf_map_lookup_elem(&fw_connections, key);
	if (connection && fw_is_alive(connection, key->protocol, pkt->now))
		return true;
	connection = bpf_map_lookup_elem(&fw_half_open, key);
	return connection && fw_is_alive(connection, key->protocol, pkt->now);
}
