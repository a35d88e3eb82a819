/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Fragments: only the first has ports, and so a connection. It leaves behind
 * what addresses the others are to be given, in either direction.
 */
#pragma once

#include "evnf/fragment.bpf.h"

#include "lb_translation.bpf.h"
#include "lb_vips.bpf.h"

/* By the addresses that fragments arrive with. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LB_FRAGMENTS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct evnf_fragment_key);
	__type(value, struct lb_fragment);
} lb_fragments SEC(".maps");

static __always_inline void lb_remember_first(const struct evnf_packet *pkt, struct lb_scratch *scratch)
{
	struct lb_fragment *fragment = &scratch->fragment;

	fragment->src = scratch->after.src;
	fragment->dst = scratch->after.dst;
	fragment->seen = pkt->now;
	fragment->backend = scratch->backend;
	evnf_key_of_fragment(pkt, &scratch->fragment_key);
	bpf_map_update_elem(&lb_fragments, &scratch->fragment_key, fragment, BPF_ANY);
}

/*
 * A later fragment that comes before its first, or without. Whose it is only the first
 * can tell, so it is better lost by name than sent astray; but what is for this
 * machine's proxies is put together by its own stack.
 */
static __always_inline int lb_decide_early(const struct evnf_packet *pkt)
{
	const struct lb_vip *vip = lb_find_vip(&pkt->dst);

	if (!vip || !lb_may_be_for(vip, pkt))
		return EVNF_NEXT;
	return vip->local ? EVNF_LOCAL : evnf_drop(EVNF_REASON_FRAGMENT);
}

__noinline int lb_follow_first(evnf_ctx *ctx)
{
	struct evnf_packet *pkt = evnf_current_packet();
	struct lb_scratch *scratch = lb_scratch();
	struct lb_fragment *fragment;
	__u32 difference;

	if (!pkt || !scratch)
		return evnf_drop(EVNF_REASON_INTERNAL);
	evnf_key_of_fragment(pkt, &scratch->fragment_key);
	fragment = bpf_map_lookup_elem(&lb_fragments, &scratch->fragment_key);
	if (!fragment || pkt->now - fragment->seen >= LB_FRAGMENT_JIFFIES)
		return lb_decide_early(pkt);
	if (fragment->backend == LB_NO_BACKEND)
		return EVNF_NEXT;
	lb_count(pkt, fragment->backend);
	if (!lb_readdress(ctx, pkt, &fragment->src, &fragment->dst, &difference))
		return evnf_drop(EVNF_REASON_TRUNCATED);
	return EVNF_NEXT;
}

/* As scratch->after says; others may follow a first fragment. */
static __always_inline int lb_translate_both(evnf_ctx *ctx, struct evnf_packet *pkt, struct lb_scratch *scratch)
{
	lb_count(pkt, scratch->backend);
	if (pkt->fragment == EVNF_FRAGMENT_FIRST)
		lb_remember_first(pkt, scratch);
	return lb_rewrite(ctx, pkt, &scratch->after);
}

/* No service or connection takes the packet. The fragments that follow one to a VIP go on as well. */
static __always_inline int lb_leave(const struct evnf_packet *pkt, struct lb_scratch *scratch)
{
	if (pkt->fragment && lb_find_vip(&pkt->dst)) {
		scratch->backend = LB_NO_BACKEND;
		lb_remember_first(pkt, scratch);
	}
	return EVNF_NEXT;
}

/* What the short way leaves out: a first fragment, or both ends. */
__noinline int lb_translate_rare(evnf_ctx *ctx)
{
	struct evnf_packet *pkt = evnf_current_packet();
	struct lb_scratch *scratch = lb_scratch();

	if (!pkt || !scratch)
		return evnf_drop(EVNF_REASON_INTERNAL);
	lb_read_tuple(pkt, &scratch->before);
	if (!lb_peek(scratch, pkt->now))
		return evnf_drop(pkt->fragment ? EVNF_REASON_FRAGMENT : EVNF_REASON_TUPLE_TAKEN);
	return lb_translate_both(ctx, pkt, scratch);
}

static __always_inline int lb_translate_one(evnf_ctx *ctx, struct evnf_packet *pkt, enum lb_direction direction,
					    const struct lb_change *change)
{
	lb_count(pkt, change->backend);
	if (direction == LB_TO_SERVER)
		return evnf_rewrite_destination(ctx, pkt, &change->address, change->port);
	return evnf_rewrite_source(ctx, pkt, &change->address, change->port);
}

/* What a connection does to its packet: one end, of a packet that nothing follows. */
static __always_inline int lb_translate(evnf_ctx *ctx, struct evnf_packet *pkt, enum lb_direction direction,
					const struct lb_change *change)
{
	if (pkt->fragment || change->fullnat)
		return lb_translate_rare(ctx);
	return lb_translate_one(ctx, pkt, direction, change);
}

/* The same for the first packet, by scratch->change. */
static __always_inline int lb_translate_first(evnf_ctx *ctx, struct evnf_packet *pkt, enum lb_direction direction,
					      struct lb_scratch *scratch)
{
	if (!pkt->fragment && !scratch->change.fullnat)
		return lb_translate_one(ctx, pkt, direction, &scratch->change);
	lb_read_tuple(pkt, &scratch->before);
	if (!lb_apply(scratch, direction, &scratch->change))
		return evnf_drop(EVNF_REASON_TUPLE_TAKEN);
	return lb_translate_both(ctx, pkt, scratch);
}
