// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The clock of the fast path for user space: jiffies cost nothing in BPF and
 * cannot be read from outside, so this program is run to read them.
 */
#include "evnf/ctx.bpf.h"

EVNF_LICENSE;

struct evnf_clock evnf_now;

SEC("xdp") int evnf_clock(struct xdp_md *ctx)
{
	evnf_now.jiffies = bpf_jiffies64();
	evnf_now.ktime_ns = bpf_ktime_get_ns();
	return XDP_PASS;
}
