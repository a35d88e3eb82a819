/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The state of dpi, and what both of its programs do with it. */
#pragma once

#include "evnf/ctx.bpf.h"

#include "dpi_shared.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct dpi_key);
	__type(value, struct dpi_flow);
} dpi_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DPI_MAX_APPS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct dpi_totals);
} dpi_totals SEC(".maps");

/* Adds a flow that ends to the totals of the application that `verdict` names. */
static __always_inline void dpi_add_to_totals(const struct dpi_flow *flow, __u64 verdict)
{
	__u32 app = dpi_verdict_app(verdict);
	struct dpi_totals *totals = bpf_map_lookup_elem(&dpi_totals, &app);

	if (!totals)
		return;
	__sync_fetch_and_add(&totals->flows, 1);
	__sync_fetch_and_add(&totals->packets, flow->packets[0] + flow->packets[1]);
	__sync_fetch_and_add(&totals->bytes, flow->bytes[0] + flow->bytes[1]);
}
