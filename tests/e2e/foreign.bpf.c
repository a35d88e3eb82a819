// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Somebody else's XDP program, which evnfd must leave alone. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC("xdp") int foreign_guard(struct xdp_md *ctx)
{
	return XDP_PASS;
}
