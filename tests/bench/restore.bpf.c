// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * In front of a port's entry, for BPF_PROG_TEST_RUN with `repeat`: writes the
 * whole frame anew, since a run that translates meets its own output otherwise,
 * gives it the next flow's client, and goes on with the entry by a tail call.
 * Checksums stay those of the template: what follows a difference does not mind.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { V4_FRAME = 14 + 20 + 20 + 6, V6_FRAME = 14 + 40 + 20 + 6, FIRST_PORT = 1024 };

const volatile bool v6 = false;
const volatile bool to_client = false;

/* Plain data, since clang folds what it takes for constant: written by user space before a run. */
__u8 headers[V6_FRAME] = {};
__u64 next_flow = 0;
__u32 flow_bits = 0;   /* 2^bits flows */
__u32 client_bits = 0; /* 2^bits client addresses; the ports make up the rest */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} entry SEC(".maps");

/* Another one of 2^flow_bits for each number, in an order that looks random. */
static __always_inline __u64 flow_of(__u64 number)
{
	__u64 mask = (1ULL << flow_bits) - 1;

	number = number * 0x9e3779b97f4a7c15ULL & mask;
	number ^= number >> (flow_bits / 2 + 1);
	return number * 0xbf58476d1ce4e5b9ULL & mask;
}

SEC("xdp") int restore(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	__u32 l4 = v6 ? 54 : 34, address = v6 ? 34 : 26, size = v6 ? 16 : 4;
	__u64 flow = flow_of(next_flow++);

	if ((void *)(frame + (v6 ? V6_FRAME : V4_FRAME)) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (v6)
		__builtin_memcpy(frame, headers, V6_FRAME);
	else
		__builtin_memcpy(frame, headers, V4_FRAME);
	if (to_client) {
		address += size;
		l4 += 2;
	}
	*(__be32 *)(frame + address) |= bpf_htonl(flow & ((1ULL << client_bits) - 1));
	*(__be16 *)(frame + l4) = bpf_htons(FIRST_PORT + (flow >> client_bits));
	bpf_tail_call(ctx, &entry, 0);
	return XDP_ABORTED;
}
