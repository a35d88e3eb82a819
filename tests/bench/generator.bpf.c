// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The packet generator: run by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES,
 * it writes one UDP packet and sends it out of the interface in `egress`.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { SPORT_OFFSET = 14 + 20, DPORT_OFFSET = SPORT_OFFSET + 2, HEADERS = 14 + 20 + 8 };

/* Written by user space before the first run; plain data, since clang folds what it takes for constant. */
__u8 headers[HEADERS] = {};
__u32 flow_mask = 0;  /* flows - 1: a power of 2 */
__u32 vary_dport = 0; /* flows differ in the destination port, else in the source port */
__u16 first_port = 0; /* of those that differ */
__u64 sent = 0;

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} egress SEC(".maps");

SEC("xdp") int generate(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__be16 port;

	if ((void *)(frame + HEADERS) > end)
		return XDP_ABORTED;
	/* All of it, every time: pages come back as the receiver left them. */
	__builtin_memcpy(frame, headers, HEADERS);
	port = bpf_htons(first_port + (sent++ & flow_mask));
	if (vary_dport)
		*(__be16 *)(frame + DPORT_OFFSET) = port;
	else
		*(__be16 *)(frame + SPORT_OFFSET) = port;
	return bpf_redirect_map(&egress, 0, 0);
}
