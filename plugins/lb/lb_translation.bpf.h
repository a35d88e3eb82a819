/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a connection's packets become. In dnat one end is written, and stands in
 * the connection's entry; in fullnat both are, and stand in a table that only
 * such connections are looked up in.
 */
#pragma once

#include "evnf/quoted.bpf.h"
#include "evnf/rewrite.bpf.h"
#include "lb_shared.h"

/* A packet as it arrives -> as it leaves. Sized by the slow path. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct lb_tuple);
	__type(value, struct lb_tuple);
} lb_fullnat SEC(".maps");

/* What the rare ways work on: beside the stage's, the stack has no room for it. */
struct lb_scratch {
	struct lb_tuple before, after;
	struct lb_connection entry;
	struct evnf_fragment_key fragment_key;
	struct lb_fragment fragment;
	struct evnf_quoted quote;
	union evnf_address src;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_scratch);
} lb_scratches SEC(".maps");

static __always_inline struct lb_scratch *lb_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lb_scratches, &zero);
}

/* The tuple of the packets that go the other way. */
static __always_inline void lb_turn(const struct lb_tuple *tuple, struct lb_tuple *turned)
{
	turned->src = tuple->dst;
	turned->dst = tuple->src;
	turned->sport = tuple->dport;
	turned->dport = tuple->sport;
	turned->protocol = tuple->protocol;
}

static __always_inline struct lb_tuple lb_turned(const struct lb_tuple *tuple)
{
	struct lb_tuple turned = {};

	lb_turn(tuple, &turned);
	return turned;
}

/* What a packet with this tuple becomes; false where its connection is just being forgotten. */
static __always_inline bool lb_translate_tuple(const struct lb_tuple *tuple, const struct lb_connection *entry,
					       struct lb_tuple *after)
{
	const struct lb_tuple *both;

	*after = *tuple;
	if (entry->flags & LB_FULLNAT) {
		both = bpf_map_lookup_elem(&lb_fullnat, tuple);
		if (!both)
			return false;
		*after = *both;
	} else if (entry->direction == LB_TO_SERVER) {
		after->dst = entry->address;
		after->dport = entry->port;
	} else {
		after->src = entry->address;
		after->sport = entry->port;
	}
	return true;
}

static __always_inline bool lb_same_address(const union evnf_address *a, const union evnf_address *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

static __always_inline bool lb_same(const union evnf_address *a, __be16 a_port, const union evnf_address *b,
				    __be16 b_port)
{
	return lb_same_address(a, b) && a_port == b_port;
}

/* One end of the IP header; `difference` gets what that adds to a sum over both addresses. */
static __always_inline bool lb_readdress_end(evnf_ctx *ctx, struct evnf_packet *pkt, enum evnf_end end,
					     const union evnf_address *address, __u32 *difference)
{
	union evnf_address *old = end == EVNF_SOURCE ? &pkt->src : &pkt->dst;
	__u32 change;

	if (lb_same_address(old, address))
		return true;
	change = evnf_address_difference(old, address);
	if (!evnf_write_address(ctx, pkt, end, address, change))
		return false;
	*old = *address;
	*difference += change;
	if (end == EVNF_DESTINATION)
		pkt->readdressed = 1;
	return true;
}

/* The IP header alone: of a packet whose L4 checksum covers no addresses, or is not here. */
static __always_inline bool lb_readdress(evnf_ctx *ctx, struct evnf_packet *pkt, const union evnf_address *src,
					 const union evnf_address *dst, __u32 *difference)
{
	*difference = 0;
	return lb_readdress_end(ctx, pkt, EVNF_SOURCE, src, difference) &&
	       lb_readdress_end(ctx, pkt, EVNF_DESTINATION, dst, difference);
}

/* The whole of a packet that has its L4 header. */
static __always_inline int lb_rewrite(evnf_ctx *ctx, struct evnf_packet *pkt, const struct lb_tuple *after)
{
	int decision = EVNF_NEXT;

	if (!lb_same(&pkt->src, pkt->sport, &after->src, after->sport))
		decision = evnf_rewrite_source(ctx, pkt, &after->src, after->sport);
	if (decision == EVNF_NEXT && !lb_same(&pkt->dst, pkt->dport, &after->dst, after->dport))
		decision = evnf_rewrite_destination(ctx, pkt, &after->dst, after->dport);
	return decision;
}
