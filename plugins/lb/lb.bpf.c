// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * lb: packets to a virtual service go to one of its backends, and the replies
 * of tracked connections come back under the service's address.
 */
#include "lb_icmp.bpf.h"
#include "lb_open.bpf.h"

EVNF_LICENSE;

/* A packet of a connection, in this direction: fills `change`. False where there is none, or where it begins anew. */
static __always_inline bool lb_go_on(evnf_ctx *ctx, const struct evnf_packet *pkt, enum lb_direction direction,
				     struct lb_change *change)
{
	struct lb_ends ends = lb_ends_of(pkt, direction);
	struct lb_place place;

	if (!lb_locate(&ends, direction, pkt->now, &place) ||
	    (direction == LB_TO_SERVER && lb_begins_anew(pkt, &place)))
		return false;
	lb_read_change(&place, direction, change);
	if (!lb_hear(ctx, pkt, &place, direction))
		return false;
	if (direction == LB_TO_SERVER && lb_proves_both(pkt, place.head))
		lb_keep(ctx, pkt, &place);
	return true;
}

EVNF_STAGE(lb, ctx, pkt)
{
	struct lb_change change;

	if (pkt->fragment == EVNF_FRAGMENT_LATER)
		return lb_follow_first(ctx);
	if (pkt->protocol != IPPROTO_TCP && pkt->protocol != IPPROTO_UDP)
		return lb_other_protocol(ctx);
	if (lb_go_on(ctx, pkt, LB_TO_SERVER, &change))
		return lb_translate(ctx, pkt, LB_TO_SERVER, &change);
	if (lb_go_on(ctx, pkt, LB_TO_CLIENT, &change))
		return lb_translate(ctx, pkt, LB_TO_CLIENT, &change);
	return lb_begin(ctx);
}
