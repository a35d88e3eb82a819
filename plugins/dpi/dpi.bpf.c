// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * dpi: counts every packet in the entry of its flow, copies to the slow path
 * what that needs to name the application, and does what the policy of the
 * application says: packets go on unless that is to drop them.
 */
#include "dpi_copy.bpf.h"
#include "dpi_open.bpf.h"
#include "dpi_policy.bpf.h"

EVNF_LICENSE;

/* What the head is after a packet of this direction. */
static __always_inline dpi_head head_after(const struct evnf_packet *pkt, dpi_head head, __u32 direction)
{
	dpi_head after = (head & ~DPI_SEEN) | dpi_seen_at(pkt->now);

	if (pkt->fragment != EVNF_FRAGMENT_LATER && dpi_has_payload(pkt))
		after |= DPI_PAYLOAD;
	if (dpi_is_tcp(pkt) && pkt->tcp_flags & EVNF_TCP_FIN)
		after |= dpi_fin(direction);
	if (dpi_is_tcp(pkt) && pkt->tcp_flags & EVNF_TCP_RST)
		after |= DPI_RST;
	return after;
}

/* Notes what the packet says, if that is anything new: a head that is not written stays shared between caches. */
static __always_inline void hear(const struct evnf_packet *pkt, struct dpi_place *place, __u32 direction)
{
	for (int i = 0; i < 3; i++) { /* the other direction's packets swap heads, too */
		dpi_head before = place->head, after = head_after(pkt, before, direction);

		if (after == before || dpi_swap_head(place, after) || !dpi_is_still(before, place->head))
			return;
	}
}

static __always_inline void count(const struct evnf_packet *pkt, __u32 direction, struct dpi_flow *flow)
{
	__sync_fetch_and_add(&flow->packets[direction & 1], 1);
	__sync_fetch_and_add(&flow->bytes[direction & 1], pkt->frame_length);
}

static __always_inline void begin_inspection(struct dpi_flow *flow)
{
	__u64 verdict = flow->verdict;

	if (dpi_verdict_state(verdict) == DPI_NEW)
		__sync_val_compare_and_swap(&flow->verdict, verdict, verdict | DPI_INSPECTING);
}

static __always_inline void count_untracked(const struct evnf_packet *pkt)
{
	struct dpi_faults *counters = dpi_fault_counters();

	if (!counters)
		return;
	counters->untracked_packets++;
	counters->untracked_bytes += pkt->frame_length;
}

EVNF_STAGE(dpi, ctx, pkt)
{
	struct dpi_key key = {};
	__u32 direction = dpi_make_key(pkt, &key);
	struct dpi_place place;
	struct dpi_flow *flow = dpi_find_or_open(ctx, pkt, &key, direction, &place) ? dpi_flow_at(&place) : NULL;

	if (!flow) {
		count_untracked(pkt);
		return EVNF_NEXT;
	}
	count(pkt, direction, flow);
	hear(pkt, &place, direction);
	if (dpi_wants_copy(pkt, flow)) {
		begin_inspection(flow);
		dpi_offer_copy(ctx, pkt, &key, direction, flow);
	}
	evnf_note(pkt, flow->verdict);
	return dpi_config.policies ? dpi_apply_policy(ctx, pkt, flow) : EVNF_NEXT;
}
