// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The flood: run by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, it writes
 * one SYN from another source each time and sends it.
 */
#include "paced.bpf.h"

#include <linux/tcp.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct syn {
	struct network_headers network;
	struct tcphdr tcp;
} __attribute__((packed));

/* Written by user space before the first run: a SYN from port 0 of 128.0.0.0. */
__u8 headers[sizeof(struct syn)] = {};
__u64 next_source = 0; /* numbers what is sent; wraps */

SEC("xdp") int flood(struct xdp_md *ctx)
{
	struct syn *syn = (void *)(long)ctx->data;
	struct source source;

	if ((void *)(syn + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (!is_due())
		return XDP_DROP;
	/* All of it, every time: pages come back as the receiver left them. */
	__builtin_memcpy(syn, headers, sizeof(*syn));
	source = source_of(next_source++);
	set_source_host(&syn->network, &source);
	syn->tcp.source = source.port;
	syn->tcp.check = checksum_with(syn->tcp.check, source.sum);
	sent++;
	return bpf_redirect_map(&egress, 0, 0);
}
