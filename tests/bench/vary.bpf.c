// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * In front of a port's entry, for BPF_PROG_TEST_RUN with `repeat`: gives each run
 * a packet of another flow, an IPv4 one without tags and options, and goes on with
 * the entry by a tail call. Without an entry it ends there, for its own cost.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { SOURCE = 14 + 12, SOURCE_PORT = 14 + 20, FIRST_PORT = 1024 };

/* Written by user space before a run. */
__u32 flows = 0; /* that differ in the source port and come in turn; 0: no two have the same source address */
__u64 number = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} entry SEC(".maps");

SEC("xdp") int vary(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;

	if ((void *)(frame + SOURCE_PORT + 2) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	number++;
	if (flows)
		*(__be16 *)(frame + SOURCE_PORT) = bpf_htons(FIRST_PORT + (__u32)number % flows);
	else
		*(__be32 *)(frame + SOURCE) = bpf_htonl((__u32)number * 2654435761u);
	bpf_tail_call(ctx, &entry, 0);
	return XDP_DROP;
}
