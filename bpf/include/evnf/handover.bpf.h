/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Between the XDP chain of a port and the kernel's stack: tc ingress finds what
 * evnf_hand() put before the frame, and lets it go with the packet in tc_index.
 */
#pragma once

#include "rewrite.bpf.h"

#ifndef EVNF_BUILD_TC
static __always_inline bool evnf_was_handed_over(evnf_ctx *ctx)
{
	return false;
}

static __always_inline int evnf_take_over(evnf_ctx *ctx)
{
	return EVNF_HOOK_PASS;
}
#else
static __always_inline struct evnf_handover *evnf_handover_of(evnf_ctx *ctx)
{
	struct evnf_handover *handover = (void *)(long)ctx->data_meta;
	__u64 key = evnf_current_handover_key();

	if ((void *)(handover + 1) > (void *)(long)ctx->data || !key || handover->key != key)
		return NULL;
	return handover;
}

static __always_inline bool evnf_was_handed_over(evnf_ctx *ctx)
{
	return evnf_handover_of(ctx);
}

/* The chain is over and the route is known: sent without asking netfilter, which is not in this packet's chain. */
static __always_inline int evnf_send_unresolved(evnf_ctx *ctx, __u32 egress)
{
	__u8 version = ctx->protocol == bpf_htons(ETH_P_IP) ? 4 : 6;

	if (!evnf_decrement_ttl(ctx, ETH_HLEN, version))
		return EVNF_HOOK_DROP;
	return evnf_redirect_unresolved(ctx, egress);
}

static __always_inline int evnf_take_over(evnf_ctx *ctx)
{
	struct evnf_handover *handover = evnf_handover_of(ctx), taken = { .word = EVNF_RESUME_DONE };

	if (handover) {
		taken = *handover;
		handover->key = 0;
	}
	if (taken.word == EVNF_RESUME_NEIGHBOUR)
		return evnf_send_unresolved(ctx, taken.egress);
	ctx->tc_index = taken.word;
	return EVNF_HOOK_PASS;
}
#endif
