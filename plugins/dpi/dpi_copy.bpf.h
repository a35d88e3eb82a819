/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Copies for the slow path: which packets, and how they get into the ring. */
#pragma once

#include "evnf/parser.bpf.h"

#include "dpi_rings.bpf.h"

static __always_inline __u32 budget(const struct evnf_packet *pkt)
{
	return pkt->protocol == IPPROTO_TCP ? dpi_config.budget_tcp : dpi_config.budget_udp;
}

/* Packets with payload; of what is not TCP also the first, whatever is in it. */
static __always_inline bool dpi_wants_copy(const struct evnf_packet *pkt, const struct dpi_flow *flow)
{
	if (pkt->fragment == EVNF_FRAGMENT_LATER)
		return false;
	if (!dpi_has_payload(pkt))
		return pkt->protocol != IPPROTO_TCP && flow->packets[0] + flow->packets[1] == 1;
	if (!dpi_config.copies_end)
		return true;
	return dpi_verdict_state(flow->verdict) < DPI_CLASSIFIED && flow->copies < budget(pkt);
}

/* Records are not announced one by one, which would cost more than copying: the reader polls. */
static __always_inline __u64 wake_up(void *ring)
{
	return bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) >= DPI_WAKE_BYTES ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Counts a copy; true where it is the last that the flow's budget allows. */
static __always_inline bool spend_budget(const struct evnf_packet *pkt, struct dpi_flow *flow)
{
	return dpi_has_payload(pkt) && __sync_fetch_and_add(&flow->copies, 1) + 1 >= budget(pkt);
}

/* Fills and sends a record of `ring` that has room for `room` bytes of packet. */
static __always_inline void send_copy(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct dpi_key *key,
				      __u32 direction, struct dpi_flow *flow, void *ring, struct dpi_copy *copy,
				      __u32 room)
{
	__u32 length = pkt->l3_length, last;

	if (length > room)
		length = room;
	copy->key = *key;
	copy->length = length;
	copy->id = dpi_verdict_id(flow->verdict);
	copy->now = pkt->now;
	copy->l3_length = pkt->l3_length;
	copy->flow_flags = flow->flags;
	copy->opening = flow->opening;
	copy->l4_offset = pkt->l4_offset - pkt->l3_offset;
	copy->direction = direction;
	copy->from_initiator = direction == flow->initiator;
	copy->is_last = spend_budget(pkt, flow);
	/*
	 * Neither happens: the parser has checked the length against the frame. The
	 * verifier of 6.1 learns nothing from a test for zero, so it is shown that
	 * the length is one more than what is less than the room.
	 */
	last = length - 1;
	barrier_var(last);
	if (last >= room || evnf_load_bytes(ctx, pkt->l3_offset, copy->data, last + 1))
		bpf_ringbuf_discard(copy, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_submit(copy, wake_up(ring));
}

/* Copies into a record of a size that the verifier knows; false where the ring has no room. */
#define COPY_INTO(room)                                                                            \
	({                                                                                         \
		struct dpi_copy *copy = bpf_ringbuf_reserve(ring, sizeof(*copy) + (room), 0);        \
                                                                                                   \
		if (copy)                                                                          \
			send_copy(ctx, pkt, key, direction, flow, ring, copy, room);               \
		copy != NULL;                                                                      \
	})

static __always_inline bool copy_packet(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct dpi_key *key,
					__u32 direction, struct dpi_flow *flow)
{
	void *ring = ring_of(key);

	if (!ring)
		return false;
	if (pkt->l3_length <= DPI_SMALL_COPY)
		return COPY_INTO(DPI_SMALL_COPY);
	if (pkt->l3_length <= DPI_MEDIUM_COPY)
		return COPY_INTO(DPI_MEDIUM_COPY);
	return COPY_INTO(DPI_LARGE_COPY);
}

/* The ring is full, or the copies come too fast. */
static __always_inline void count_lost_copy(void)
{
	struct dpi_faults *counters = dpi_fault_counters();

	evnf_count_lost_event();
	if (counters)
		counters->lost_copies++;
}

/*
 * Copies the packet if there is a slow path that can take it. What is not
 * copied spends no budget: a later packet takes this one's place.
 */
static __always_inline void dpi_offer_copy(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct dpi_key *key,
				       __u32 direction, struct dpi_flow *flow)
{
	if (evnf_slow_path_alive(pkt)) {
		if (evnf_admit_event(pkt, &dpi_config.copy_limit) &&
		    copy_packet(ctx, pkt, key, direction, flow))
			return;
		count_lost_copy();
	}
	if (!(flow->flags & DPI_FLOW_GAP))
		flow->flags |= DPI_FLOW_GAP;
}
