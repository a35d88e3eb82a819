// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The receiver: counts and drops packets of one protocol, or of all, that came to
 * this server through one router, and leaves the rest (ARP, for one) alone.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { ROUTED_TTL = 63 };

const volatile __be32 server = 0;
const volatile __u8 protocol = 0; /* 0: all */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} received SEC(".maps");

SEC("xdp") int receive(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 zero = 0;
	__u64 *count;

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    (protocol && ip->protocol != protocol) || ip->daddr != server || ip->ttl != ROUTED_TTL)
		return XDP_PASS;
	count = bpf_map_lookup_elem(&received, &zero);
	if (count)
		++*count;
	return XDP_DROP;
}
