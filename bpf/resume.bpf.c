// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Resume: at tc egress of every interface. A packet that left its chain for the
 * kernel goes on with it, in the generation in which it left; any other passes.
 */
#include "evnf/port.bpf.h"

EVNF_LICENSE;

/* The reentry programs of the generations that packets may come back to. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, EVNF_GENERATIONS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} evnf_generations SEC(".maps");

static __always_inline int lose(enum evnf_reason reason)
{
	struct evnf_stage_counters *counters = evnf_counters();

	if (counters)
		counters->drops[reason & (EVNF_REASON_MAX - 1)]++;
	return EVNF_HOOK_DROP;
}

static __always_inline bool is_from_port(evnf_ctx *ctx)
{
	__u32 ifindex = ctx->ingress_ifindex;

	return ifindex && bpf_map_lookup_elem(&evnf_port_by_ifindex, &ifindex);
}

SEC(EVNF_SECTION) int evnf_resume(evnf_ctx *ctx)
{
	const struct evnf_routing *routing = evnf_current_routing();
	__u32 word = ctx->tc_index;

	if (word >> EVNF_RESUME_SHIFT) {
		bpf_tail_call(ctx, &evnf_generations, word >> EVNF_RESUME_SHIFT);
		return lose(EVNF_REASON_STALE_GENERATION);
	}
	if (!routing)
		return lose(EVNF_REASON_INTERNAL);
	if (routing->strict && word == EVNF_RESUME_NOTHING && is_from_port(ctx))
		return lose(EVNF_REASON_RESUME_LOST);
	if (routing->vip_device && ctx->ifindex == routing->vip_device)
		return lose(EVNF_REASON_VIP_NOT_SERVED);
	return EVNF_HOOK_PASS;
}
