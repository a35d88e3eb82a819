/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Flows that begin: the place that they get, and who gives way. */
#pragma once

#include <linux/tcp.h>

#include "evnf/tcp.bpf.h"

#include "dpi_table.bpf.h"

/* What does not fit the stack of functions that are called. */
struct dpi_scratch {
	struct dpi_key key;
	__u64 mixed;
	struct dpi_opening opening;
	__u16 flags;
	__u8 initiator;
	__u8 pad;
	__u64 best;
	struct dpi_prefix prefix;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dpi_scratch);
} dpi_scratches SEC(".maps");

/* Prefixes whose flows are never inspected. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, DPI_NEVER_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct dpi_prefix);
	__type(value, __u8);
} dpi_never SEC(".maps");

static __always_inline struct dpi_scratch *dpi_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dpi_scratches, &zero);
}

static __always_inline bool dpi_opens_connection(const struct evnf_packet *pkt)
{
	return dpi_is_tcp(pkt) && (pkt->tcp_flags & (EVNF_TCP_SYN | EVNF_TCP_ACK)) == EVNF_TCP_SYN;
}

/* A verdict for a flow that begins: a fresh id and nothing known. */
static __always_inline __u64 dpi_fresh_verdict(void)
{
	__u32 zero = 0;
	__u64 *last = bpf_map_lookup_elem(&dpi_ids, &zero);

	return last ? dpi_verdict(__sync_fetch_and_add(last, 1) + 1, 0, 0, DPI_NEW) : 0;
}

/* Adds a flow that gives way to its application's totals. */
static __always_inline void dpi_add_to_totals(struct dpi_flow *flow)
{
	__u32 app = dpi_verdict_app(__sync_lock_test_and_set(&flow->verdict, 0));
	__u64 packets = __sync_lock_test_and_set(&flow->packets[0], 0) + __sync_lock_test_and_set(&flow->packets[1], 0);
	__u64 bytes = __sync_lock_test_and_set(&flow->bytes[0], 0) + __sync_lock_test_and_set(&flow->bytes[1], 0);
	struct dpi_totals *totals = bpf_map_lookup_elem(&dpi_totals, &app);
	struct dpi_faults *counters = dpi_fault_counters();

	if (!totals || !counters)
		return;
	__sync_fetch_and_add(&totals->flows, 1);
	__sync_fetch_and_add(&totals->packets, packets);
	__sync_fetch_and_add(&totals->bytes, bytes);
	counters->evicted_flows++;
	counters->evicted_packets += packets;
	counters->evicted_bytes += bytes;
}

/*
 * What a place is worth to a newcomer: a free one most, then that of the flow
 * which was quiet for longest. None that is protected, and none that had payload
 * and is not quiet at all: a flood of newcomers does not take what is active.
 */
static __always_inline __u64 dpi_worth(dpi_head head, __u64 now)
{
	bool payload = head & DPI_PAYLOAD;
	__s32 idle = dpi_idle(head, now);

	if (head & DPI_BUSY)
		return 0;
	if (!(head & DPI_USED))
		return 1ull << 40;
	if (head & DPI_OFFLOADED || (payload && idle <= 0))
		return 0;
	return (__u64)(idle > 0 ? idle : 0) << 4 | !payload << 3;
}

/* The way of a set that is worth most, its home first among equals: scratch->best, less its worth's lowest 3 bits. */
__noinline int dpi_find_room(__u32 index)
{
	const struct dpi_set *set = dpi_set_at(index);
	const struct evnf_packet *pkt = evnf_current_packet();
	struct dpi_scratch *scratch = dpi_scratch();
	__u32 home;

	if (!set || !pkt || !scratch)
		return DPI_WAYS;
	home = dpi_home_of(scratch->mixed);
	scratch->best = 0;
	for (__u32 i = 0; i < DPI_WAYS; i++) {
		__u64 worth = dpi_worth(dpi_read_head(set, evnf_way_from(home, i)), pkt->now);

		if (worth && (worth | (DPI_WAYS - i)) > scratch->best)
			scratch->best = worth | (DPI_WAYS - i);
	}
	return scratch->best ? evnf_way_from(home, DPI_WAYS - (scratch->best & 7)) : DPI_WAYS;
}

/* Claims the way; false where somebody else was faster, or it is not worth anything by now. */
static __always_inline bool dpi_claim(struct dpi_place *place, __u64 now)
{
	dpi_head before = place->head = dpi_read_head(place->set, place->way);

	if (!dpi_worth(before, now) || !dpi_swap_head(place, ((before + DPI_VERSION) & DPI_VERSIONS) | DPI_BUSY))
		return false;
	if (before & DPI_USED)
		dpi_add_to_totals(&place->set->ways[place->way]);
	return true;
}

/* Writes a flow into the place, which is claimed. What is counted there by now stays. */
static __always_inline void dpi_write_flow(const struct evnf_packet *pkt, const struct dpi_scratch *scratch, struct dpi_place *place)
{
	struct dpi_flow *flow = &place->set->ways[place->way];

	flow->key = scratch->key;
	flow->copies = 0;
	flow->first_seen = pkt->now;
	flow->opening = scratch->opening;
	flow->flags = scratch->flags;
	flow->initiator = scratch->initiator;
	flow->risks = 0;
	flow->inspected = 0;
	flow->verdict = scratch->flags & DPI_FLOW_NEVER ? dpi_fresh_verdict() | DPI_GAVE_UP : dpi_fresh_verdict();
	place->set->tags[place->way] = dpi_tag_of(scratch->mixed);
	place->head = (place->head & DPI_VERSIONS) | DPI_USED | (pkt->protocol == IPPROTO_TCP ? DPI_TCP : 0) | dpi_seen_at(pkt->now);
	__sync_lock_test_and_set(&place->set->heads[place->way], place->head);
}

/*
 * A place for the flow in the scratch, in one of its sets: the number of the way,
 * and 8 more in the second set; -1 where there is none.
 */
__noinline int dpi_make_room(void)
{
	const struct evnf_packet *pkt = evnf_current_packet();
	struct dpi_scratch *scratch = dpi_scratch();
	struct dpi_place place;
	struct dpi_set *first;
	bool second = false;
	__u64 best;

	if (!pkt || !scratch)
		return -1;
	first = place.set = dpi_set_at(dpi_first_set(scratch->mixed, dpi_config.sets));
	place.way = dpi_find_room(dpi_first_set(scratch->mixed, dpi_config.sets));
	best = scratch->best >> 3;
	if (best < 1ull << 37) {
		__u32 other = dpi_find_room(dpi_second_set(scratch->mixed, dpi_config.sets));

		second = scratch->best >> 3 > best;
		if (second) {
			place.set = dpi_set_at(dpi_second_set(scratch->mixed, dpi_config.sets));
			place.way = other;
		}
	}
	barrier_var(place.way); /* or the compiler, which knows what that returns, shortens the test, and the verifier objects */
	if (!first || !place.set || place.way >= DPI_WAYS || !dpi_claim(&place, pkt->now))
		return -1;
	if (second)
		first->displaced = 1;
	dpi_write_flow(pkt, scratch, &place);
	return place.way | (second ? 8 : 0);
}

static __always_inline bool dpi_is_never(const union evnf_address *address, struct dpi_scratch *scratch)
{
	scratch->prefix.length = 128;
	__builtin_memcpy(scratch->prefix.words, address->words, sizeof(scratch->prefix.words));
	return bpf_map_lookup_elem(&dpi_never, &scratch->prefix);
}

static __always_inline bool dpi_is_never_inspected(const struct evnf_packet *pkt, struct dpi_scratch *scratch)
{
	return dpi_config.never && (dpi_is_never(&pkt->src, scratch) || dpi_is_never(&pkt->dst, scratch));
}

/* How the flow begins: what its entry tells of its first packet. */
static __always_inline void dpi_describe_opening(evnf_ctx *ctx, const struct evnf_packet *pkt, __u32 direction,
						 struct dpi_scratch *scratch)
{
	struct tcphdr *tcp = NULL;

	scratch->flags = dpi_is_never_inspected(pkt, scratch) ? DPI_FLOW_NEVER : 0;
	scratch->initiator = direction;
	if (dpi_is_tcp(pkt) && !dpi_has_payload(pkt))
		tcp = evnf_header(ctx, pkt->l4_offset, sizeof(*tcp));
	if (!tcp)
		return;
	scratch->flags |= DPI_FLOW_HANDSHAKE;
	scratch->opening.seq = tcp->seq;
	scratch->opening.ack_seq = tcp->ack_seq;
	scratch->opening.tcp_flags = pkt->tcp_flags;
	scratch->opening.direction = direction;
	/* The answer to a SYN that was not seen here. */
	if ((pkt->tcp_flags & (EVNF_TCP_SYN | EVNF_TCP_ACK)) == (EVNF_TCP_SYN | EVNF_TCP_ACK))
		scratch->initiator = !direction;
}

/* A flow begins with this packet; false where it finds no room. */
static __always_inline bool dpi_open(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct dpi_key *key, __u64 mixed,
				     __u32 direction, struct dpi_place *place)
{
	struct dpi_scratch *scratch = dpi_scratch();
	int where;

	if (!scratch)
		return false;
	scratch->key = *key;
	scratch->mixed = mixed;
	dpi_describe_opening(ctx, pkt, direction, scratch);
	where = dpi_make_room();
	if (where < 0)
		return false;
	place->way = where & 7;
	barrier_var(place->way);
	place->set = dpi_set_at(where & 8 ? dpi_second_set(mixed, dpi_config.sets) : dpi_first_set(mixed, dpi_config.sets));
	if (!place->set || place->way >= DPI_WAYS)
		return false;
	place->head = dpi_read_head(place->set, place->way);
	return true;
}

/*
 * A SYN on a flow that had payload or an end is another connection with the
 * same 5-tuple: it must not inherit a verdict. A retransmitted SYN is not.
 */
static __always_inline bool dpi_is_reopened(const struct evnf_packet *pkt, dpi_head head)
{
	return dpi_opens_connection(pkt) && head & (DPI_PAYLOAD | DPI_FIN | DPI_FIN << 1 | DPI_RST);
}

/* The flow is over, whatever comes of the newcomer: the slow path records it, and no packet finds it. */
static __always_inline void dpi_end_life(struct dpi_place *place)
{
	for (int i = 0; i < 3; i++) { /* the other direction's packets swap heads, too */
		dpi_head before = place->head;

		if (dpi_swap_head(place, (before | DPI_ENDED) & ~DPI_OFFLOADED) || !dpi_is_still(before, place->head))
			return;
	}
}

/* Finds the packet's flow, or begins it; false where there is no room for it. */
static __always_inline bool dpi_find_or_open(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct dpi_key *key, __u32 direction,
					     struct dpi_place *place)
{
	bool found;
	__u64 mixed;

	if (!dpi_mix_of(key, &mixed))
		return false;
	place->set = dpi_set_at(dpi_first_set(mixed, dpi_config.sets));
	if (!place->set)
		return false;
	found = dpi_find_in_set(key, mixed, place);
	if (!found && place->set->displaced) {
		place->set = dpi_set_at(dpi_second_set(mixed, dpi_config.sets));
		if (!place->set)
			return false;
		found = dpi_find_in_set(key, mixed, place);
	}
	if (found && !dpi_is_reopened(pkt, place->head))
		return true;
	if (found)
		dpi_end_life(place);
	return dpi_open(ctx, pkt, key, mixed, direction, place);
}
