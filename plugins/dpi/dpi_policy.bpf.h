/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What is done with packets of flows whose application is known. */
#pragma once

#include "evnf/dscp.bpf.h"

#include "dpi_open.bpf.h"

/* The number of the first policy that asks for the application or its category, by application; 0: none does. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DPI_MAX_APPS);
	__type(key, __u32);
	__type(value, __u32);
} dpi_policy_of_app SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DPI_MAX_POLICIES);
	__type(key, __u32);
	__type(value, struct dpi_policy);
} dpi_policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DPI_MAX_POLICIES);
	__type(key, __u32);
	__type(value, struct dpi_policed);
} dpi_policed SEC(".maps");

/*
 * Lowers scratch->best to the number of the first policy that asks for one of the
 * risks. It stands in memory since the verifier would follow each value that a variable had.
 */
__noinline int dpi_ask_for_risks(__u64 risks)
{
	struct dpi_scratch *scratch = dpi_scratch();

	if (!scratch)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 number = 1; number < DPI_MAX_POLICIES; number++) {
		__u32 key = number; /* what goes on the stack is no number that the verifier of 6.1 can count with */
		struct dpi_policy *policy = bpf_map_lookup_elem(&dpi_policies, &key);

		if (policy && policy->risks & risks && number < scratch->best)
			scratch->best = number;
	}
	return 0;
}

/* The number of the flow's policy: 0 where there is none. */
static __always_inline __u32 dpi_policy_of(const struct dpi_flow *flow)
{
	__u64 verdict = flow->verdict;
	__u32 app = dpi_verdict_app(verdict);
	struct dpi_scratch *scratch = dpi_scratch();
	__u32 *of_app = bpf_map_lookup_elem(&dpi_policy_of_app, &app);

	/* Not known yet; a flow that is inspected once more goes on as what it was. */
	if (!of_app || !scratch || (dpi_verdict_state(verdict) < DPI_CLASSIFIED && !app))
		return 0;
	if (!(flow->risks & dpi_config.risks))
		return *of_app;
	scratch->best = *of_app ? *of_app : DPI_MAX_POLICIES;
	dpi_ask_for_risks(flow->risks);
	return scratch->best < DPI_MAX_POLICIES ? scratch->best : 0;
}

/* Carries the flow's policy out. */
static __always_inline int dpi_apply_policy(evnf_ctx *ctx, struct evnf_packet *pkt, const struct dpi_flow *flow)
{
	__u32 number = dpi_policy_of(flow);
	struct dpi_policed *policed = bpf_map_lookup_elem(&dpi_policed, &number);
	struct dpi_policy *policy = bpf_map_lookup_elem(&dpi_policies, &number);

	if (!number || !policy || !policed)
		return EVNF_NEXT;
	policed->packets++;
	policed->bytes += pkt->frame_length;
	if (policy->action == DPI_DROP)
		return evnf_drop(EVNF_REASON_POLICY);
	if (policy->action == DPI_MARK && !evnf_write_dscp(ctx, pkt, policy->dscp))
		return evnf_drop(EVNF_REASON_TRUNCATED);
	return EVNF_NEXT;
}
