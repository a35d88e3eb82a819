// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The receiver: counts and drops packets of one protocol, or of all, that came to
 * this server through one router, and leaves the rest (ARP, for one) alone.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <stdbool.h>

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

static __always_inline bool counts(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 zero = 0;
	__u64 *count;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    (protocol && ip->protocol != protocol) || ip->daddr != server || ip->ttl != ROUTED_TTL)
		return false;
	count = bpf_map_lookup_elem(&received, &zero);
	if (count)
		++*count;
	return true;
}

SEC("xdp") int receive(struct xdp_md *ctx)
{
	return counts((void *)(long)ctx->data, (void *)(long)ctx->data_end) ? XDP_DROP : XDP_PASS;
}

SEC("tc") int receive_at_tc(struct __sk_buff *skb)
{
	return counts((void *)(long)skb->data, (void *)(long)skb->data_end) ? TC_ACT_SHOT : TC_ACT_OK;
}
