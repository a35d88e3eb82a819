/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What a connection's packets become. In dnat one end is written, and stands in
 * the connection; in fullnat both are, and stand in a table of which only such
 * connections are looked up.
 */
#pragma once

#include "evnf/quoted.bpf.h"
#include "evnf/rewrite.bpf.h"

#include "lb_counters.bpf.h"
#include "lb_table.bpf.h"

/* One end of a packet: what is written over the VIP, or over the server. */
struct lb_change {
	union evnf_address address;
	__be16 port;
	__u16 backend;
	bool fullnat; /* that is not all */
};

/* A packet as it arrives -> as it leaves; two of a connection. Sized by the slow path. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct lb_tuple);
	__type(value, struct lb_tuple);
} lb_fullnat SEC(".maps");

/* What the rare ways work on: the stack has no room for it. */
struct lb_scratch {
	struct lb_tuple before, after, reply, reply_after;
	__u32 backend;
	struct lb_change change;
	__u64 best; /* way for a new connection: for how long it was quiet; then, how near to the home it is. Here, since
		       the verifier need not follow what memory holds */
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

static __always_inline void lb_read_tuple(const struct evnf_packet *pkt, struct lb_tuple *tuple)
{
	tuple->src = pkt->src;
	tuple->dst = pkt->dst;
	tuple->sport = pkt->sport;
	tuple->dport = pkt->dport;
	tuple->protocol = pkt->protocol;
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

static __always_inline struct lb_ends lb_ends_of_tuple(const struct lb_tuple *tuple, enum lb_direction direction)
{
	struct lb_ends to_server = { &tuple->src, &tuple->dst, tuple->sport, tuple->dport, tuple->protocol };
	struct lb_ends to_client = { &tuple->dst, &tuple->src, tuple->dport, tuple->sport, tuple->protocol };

	return direction == LB_TO_SERVER ? to_server : to_client;
}

/* What a connection in `place` does to its packets of this direction. */
static __always_inline void lb_read_change(const struct lb_place *place, enum lb_direction direction, struct lb_change *change)
{
	const struct lb_connection *connection = &place->set->ways[place->way];

	change->address = direction == LB_TO_SERVER ? connection->server : connection->vip;
	change->port = direction == LB_TO_SERVER ? connection->server_port : connection->vip_port;
	change->backend = connection->backend;
	change->fullnat = !!(place->head & LB_FULLNAT);
}

/* Fullnat's other direction: the pool's end is nobody's client, but what the packet becomes shows client and VIP. */
static __always_inline bool lb_locate_turned(const struct lb_tuple *after, __u64 now, struct lb_place *place)
{
	struct lb_ends ends = lb_ends_of_tuple(after, LB_TO_CLIENT);

	return lb_locate(&ends, LB_TO_SERVER, now, place) && place->head & LB_FULLNAT;
}

static __always_inline bool lb_look_up_both(struct lb_scratch *scratch)
{
	const struct lb_tuple *both = bpf_map_lookup_elem(&lb_fullnat, &scratch->before);

	if (both)
		scratch->after = *both;
	return both;
}

/* scratch->before to scratch->after by what a connection changes of its packets of this direction. */
static __always_inline bool lb_apply(struct lb_scratch *scratch, enum lb_direction direction, const struct lb_change *change)
{
	scratch->backend = change->backend;
	if (change->fullnat)
		return lb_look_up_both(scratch);
	scratch->after = scratch->before;
	if (direction == LB_TO_SERVER) {
		scratch->after.dst = change->address;
		scratch->after.dport = change->port;
	} else {
		scratch->after.src = change->address;
		scratch->after.sport = change->port;
	}
	return true;
}

static __always_inline bool lb_peek_direction(struct lb_scratch *scratch, enum lb_direction direction, __u64 now)
{
	struct lb_ends ends = lb_ends_of_tuple(&scratch->before, direction);
	struct lb_place place;

	if (!lb_locate(&ends, direction, now, &place))
		return false;
	lb_read_change(&place, direction, &scratch->change);
	return lb_is_still(place.head, lb_read_head(place.set, place.way)) && lb_apply(scratch, direction, &scratch->change);
}

/* What a packet with the tuple scratch->before becomes: scratch->after. False where nothing is known of it. Leaves no trace. */
static __always_inline bool lb_peek(struct lb_scratch *scratch, __u64 now)
{
	struct lb_place place;

	if (lb_peek_direction(scratch, LB_TO_SERVER, now) || lb_peek_direction(scratch, LB_TO_CLIENT, now))
		return true;
	if (!lb_config.fullnat || !lb_look_up_both(scratch) || !lb_locate_turned(&scratch->after, now, &place))
		return false;
	scratch->backend = place.set->ways[place.way].backend;
	return true;
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
