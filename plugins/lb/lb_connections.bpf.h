/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What packets say about their connections: TCP's states, who is kept, whose
 * place is taken over.
 */
#pragma once

#include <linux/tcp.h>

#include "evnf/tcp.bpf.h"

#include "lb_table.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct lb_tracking);
} lb_tracking SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct evnf_bucket);
} lb_new_flows SEC(".maps");

static __always_inline struct lb_tracking *lb_tracked(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lb_tracking, &zero);
}

static __always_inline bool lb_is_bare_syn(const struct evnf_packet *pkt)
{
	return pkt->protocol == IPPROTO_TCP && (pkt->tcp_flags & (EVNF_TCP_SYN | EVNF_TCP_ACK)) == EVNF_TCP_SYN;
}

static __always_inline bool lb_is_reset(const struct evnf_packet *pkt)
{
	return pkt->protocol == IPPROTO_TCP && pkt->tcp_flags & EVNF_TCP_RST;
}

static __always_inline bool lb_is_over(lb_head head)
{
	enum lb_state state = lb_state_of(head);

	return state == LB_STATE_FIN || state == LB_STATE_CLOSED;
}

/*
 * What the head is after a packet of this direction. A reset ends what is not kept
 * at once; in fullnat that keeps its port, and so its place, until its time is over.
 */
static __always_inline lb_head lb_head_after(const struct evnf_packet *pkt, lb_head head, enum lb_direction direction)
{
	lb_head after = (head & ~LB_SEEN) | lb_seen_at(pkt->now);

	if (direction == LB_TO_CLIENT)
		after |= LB_ANSWERED;
	if (pkt->protocol != IPPROTO_TCP)
		return after;
	if (!(head & LB_KEPT))
		return pkt->tcp_flags & EVNF_TCP_RST && !(head & LB_FULLNAT) ? after & ~LB_USED : after;
	after &= ~lb_said(LB_RST, direction);
	if (pkt->tcp_flags & EVNF_TCP_FIN)
		after |= lb_said(LB_FIN, direction);
	if (pkt->tcp_flags & EVNF_TCP_RST)
		after |= lb_said(LB_RST, direction);
	if (pkt->tcp_flags & EVNF_TCP_ACK)
		after |= lb_said(LB_ACKED, direction);
	return after;
}

static __always_inline const struct tcphdr *lb_tcp(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	return evnf_header(ctx, pkt->l4_offset, sizeof(struct tcphdr));
}

/*
 * Whoever forges a RST knows the ports, but not what the other side last
 * acknowledged. The receiver checks in full (RFC 5961); what we know is up to
 * 2^LB_SEEN_SHIFT jiffies old, so the window is wide.
 */
static __always_inline bool lb_is_credible_reset(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct lb_place *place,
						 enum lb_direction direction)
{
	enum lb_direction other = !direction;
	const struct tcphdr *tcp = lb_tcp(ctx, pkt);

	if (!(place->head & LB_KEPT) || !(place->head & lb_said(LB_ACKED, other)))
		return true;
	return tcp && (__u16)((bpf_ntohl(tcp->seq) >> 16) - place->set->ways[place->way].acked[other] + LB_RESET_WINDOW / 2) <
			      LB_RESET_WINDOW;
}

static __always_inline void lb_read_ack(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct lb_place *place,
					enum lb_direction direction)
{
	const struct tcphdr *tcp;

	if (pkt->protocol != IPPROTO_TCP || !(pkt->tcp_flags & EVNF_TCP_ACK))
		return;
	tcp = lb_tcp(ctx, pkt);
	if (tcp)
		place->set->ways[place->way].acked[direction] = bpf_ntohl(tcp->ack_seq) >> 16;
}

/*
 * Notes what the packet says, if that is anything new: a head that is not
 * written stays shared between caches. False if the place is another connection's by now.
 */
static __always_inline bool lb_hear(evnf_ctx *ctx, const struct evnf_packet *pkt, struct lb_place *place,
				    enum lb_direction direction)
{
	lb_head before = place->head;

	if (lb_is_reset(pkt) && !lb_is_credible_reset(ctx, pkt, place, direction))
		return lb_is_still(before, lb_read_head(place->set, place->way));
	for (int i = 0; i < 3; i++) { /* the other direction's packets swap heads, too */
		lb_head after = lb_head_after(pkt, place->head, direction);

		if (after == place->head)
			return lb_is_still(before, lb_read_head(place->set, place->way));
		if (lb_swap_head(place, after)) {
			lb_read_ack(ctx, pkt, place, direction);
			return true;
		}
		if (!lb_is_still(before, place->head))
			return false;
	}
	return true;
}

/* The client speaks after the server: it has received what that sent, and is nobody's invention. */
static __always_inline bool lb_proves_both(const struct evnf_packet *pkt, lb_head head)
{
	return (head & (LB_ANSWERED | LB_KEPT)) == LB_ANSWERED &&
	       (pkt->protocol != IPPROTO_TCP || (pkt->tcp_flags & (EVNF_TCP_SYN | EVNF_TCP_RST | EVNF_TCP_ACK)) == EVNF_TCP_ACK);
}

static __always_inline bool lb_may_keep_more(const struct evnf_packet *pkt)
{
	__u32 zero = 0;
	struct evnf_bucket *bucket;

	if (!lb_config.new_flows.per_second)
		return true;
	bucket = bpf_map_lookup_elem(&lb_new_flows, &zero);
	return bucket && evnf_take_token(bucket, pkt->now, &lb_config.new_flows);
}

/* From here on nothing but its timeout or its end takes the connection's place. */
static __always_inline void lb_keep(evnf_ctx *ctx, const struct evnf_packet *pkt, struct lb_place *place)
{
	struct lb_tracking *tracked = lb_tracked();

	if (!tracked)
		return;
	if (lb_count_kept(place->set) >= LB_KEPT_WAYS) {
		tracked->table_full++;
	} else if (!lb_may_keep_more(pkt)) {
		tracked->over_limit++;
	} else if (lb_swap_head(place, lb_head_after(pkt, place->head | LB_KEPT, LB_TO_SERVER))) {
		tracked->kept++;
		lb_read_ack(ctx, pkt, place, LB_TO_SERVER);
	}
}
