// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The slow path's hand in the flow table. User space can only replace a whole
 * entry, which would undo what the fast path counts meanwhile; this program,
 * run by BPF_PROG_TEST_RUN with a command, changes the entry in place.
 */
#include "dpi_maps.bpf.h"

EVNF_LICENSE;

static __always_inline int classify(struct dpi_flow *flow, const struct dpi_command *command, __u64 current)
{
	if (__sync_val_compare_and_swap(&flow->verdict, current, command->verdict) != current)
		return DPI_STALE;
	if (dpi_verdict_state(command->verdict) == DPI_INSPECTING) { /* it gets a fresh budget */
		__sync_fetch_and_and(&flow->flags, ~DPI_FLOW_GAP);
		flow->copies = 0;
	}
	return DPI_DONE;
}

static __always_inline int end_flow(struct dpi_flow *flow, const struct dpi_command *command)
{
	if (flow->last_seen != command->last_seen)
		return DPI_STALE;
	dpi_add_to_totals(flow, command->verdict);
	bpf_map_delete_elem(&dpi_flows, &command->key);
	return DPI_DONE;
}

SEC("syscall") int dpi_control(struct dpi_command *context)
{
	struct dpi_command command = *context;
	struct dpi_flow *flow = bpf_map_lookup_elem(&dpi_flows, &command.key);
	__u64 current = flow ? flow->verdict : 0;

	if (!flow || dpi_verdict_id(current) != dpi_verdict_id(command.verdict))
		return DPI_STALE;
	return command.operation == DPI_CLASSIFY ? classify(flow, &command, current) : end_flow(flow, &command);
}
