/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* ICMP errors: they quote the packet that they are about, and belong to its connection. Part of connections.bpf.h. */
#pragma once

#include <evnf/quoted.bpf.h>

#include "connections.bpf.h"

/* What 8 bytes of the quoted L4 header tell. */
static __always_inline bool fw_read_quoted_l4(evnf_ctx *ctx, const struct evnf_quoted *quote, struct fw_l4 *l4)
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
	const struct fw_connection *connection;
	struct evnf_quoted quote = {};
	struct fw_l4 l4 = {};

	if (!evnf_read_quoted(ctx, pkt, &quote) || quote.src.halves[0] != pkt->dst.halves[0] ||
	    quote.src.halves[1] != pkt->dst.halves[1] || !fw_read_quoted_l4(ctx, &quote, &l4))
		return false;
	fw_set_key(key, &quote.src, &quote.dst, &l4, quote.protocol);
	connection = bpf_map_lookup_elem(&fw_connections, key);
	if (connection && fw_is_alive(connection, key->protocol, pkt->now))
		return true;
	connection = bpf_map_lookup_elem(&fw_half_open, key);
	return connection && fw_is_alive(connection, key->protocol, pkt->now);
}
