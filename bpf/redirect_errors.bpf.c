// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Counts frames that an XDP program sent and that never left: redirects are
 * carried out after the program has returned, and only tracepoints tell of
 * their failure. Frames of our own ports only: tracepoints see every program
 * in every network namespace.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "evnf/packet_shared.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* What we need of the kernel's own types; libbpf finds the fields in its BTF. */
struct bpf_prog;
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct net_device {
	int ifindex;
	possible_net_t nd_net;
};
#pragma clang attribute pop

const volatile __u32 netns_inum = 0; /* inode number of the daemon's network namespace */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EVNF_MAX_PORTS);
	__type(key, __u32); /* interface index */
	__type(value, __u32);
} our_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} redirect_errors SEC(".maps");

static __always_inline int count(const struct net_device *dev, __u32 frames)
{
	__u32 ifindex = dev->ifindex, zero = 0;
	__u64 *errors;

	if (dev->nd_net.net->ns.inum != netns_inum || !bpf_map_lookup_elem(&our_ports, &ifindex))
		return 0;
	errors = bpf_map_lookup_elem(&redirect_errors, &zero);
	if (errors)
		*errors += frames;
	return 0;
}

/* The target is no device, is down, or the frame is too long for it. */
SEC("tp_btf/xdp_redirect_err") int BPF_PROG(on_redirect_err, const struct net_device *dev)
{
	return count(dev, 1);
}

/* The driver of the egress port refused frames of a batch: no room, or no way to receive them. */
SEC("tp_btf/xdp_devmap_xmit")
int BPF_PROG(on_devmap_xmit, const struct net_device *from, const struct net_device *to, int sent, int drops)
{
	return drops > 0 ? count(from, drops) : 0;
}

/* As above, for frames sent back out of their own port. */
SEC("tp_btf/xdp_bulk_tx") int BPF_PROG(on_bulk_tx, const struct net_device *dev, int sent, int drops)
{
	return drops > 0 ? count(dev, drops) : 0;
}

/* XDP_ABORTED, and drivers that cannot send back. Some report a failed redirect here once more. */
SEC("tp_btf/xdp_exception")
int BPF_PROG(on_exception, const struct net_device *dev, const struct bpf_prog *prog, __u32 act)
{
	return act == XDP_REDIRECT ? 0 : count(dev, 1);
}
