// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The receivers: look at the label of each packet that arrives, on the servers
 * in XDP and on the VNF itself at a socket. What has no label is left alone.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "visits_shared.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define FRAGMENT_OFFSET 0x1fff

const volatile __u64 packets = 0; /* numbers are below this */
const volatile __u8 stages = 0;   /* marks of a set */

/* The label of one packet that was not stamped as it should be, for who wants to know why. */
struct visits_label example = {};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VISITS_MAX_ROUTES);
	__type(key, __u32);
	__type(value, struct visits_arrivals);
} arrivals SEC(".maps");

/* A bit for each number; the size is set before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

/* All that have come, for a generator that waits for them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

/* The set that the packet bears all marks of, once and in order; VISITS_SETS when there is none. */
static __always_inline __u32 set_of(const struct visits_label *label)
{
	__u32 set = ((__u32)label->marks[0] - 1) / stages;

	if (label->count != stages || set >= VISITS_SETS)
		return VISITS_SETS;
	for (__u32 i = 0; i < VISITS_MAX_MARKS; i++)
		if (label->marks[i] != (i < stages ? set * stages + i + 1 : 0))
			return VISITS_SETS;
	return set;
}

static __always_inline void count_arrived(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&arrived, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* Notes the number: true the first time. */
static __always_inline bool is_new(__u64 number)
{
	__u32 word = number / 64;
	__u64 bit = 1ULL << (number % 64);
	__u64 *bits = bpf_map_lookup_elem(&seen, &word);

	return number < packets && bits && !(__sync_fetch_and_or(bits, bit) & bit);
}

static __always_inline void arrive(const struct visits_label *label)
{
	__u32 route = label->route, set = set_of(label);
	struct visits_arrivals *counters = bpf_map_lookup_elem(&arrivals, &route);

	if (!counters)
		return;
	count_arrived();
	counters->packets++;
	if (!is_new(label->number))
		counters->duplicates++;
	if (set < VISITS_SETS) {
		counters->sets[set]++;
		return;
	}
	counters->wrong++;
	__builtin_memcpy(&example, label, sizeof(example));
}

/* The UDP payload; NULL for what is not UDP, and in later fragments. */
static __always_inline struct visits_label *find_label(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct visits_label *label;

	if ((void *)(ip + 1) > end)
		return NULL;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && ip->ihl == 5 && ip->protocol == IPPROTO_UDP &&
	    !(ip->frag_off & bpf_htons(FRAGMENT_OFFSET)))
		label = (void *)(ip + 1) + sizeof(struct udphdr);
	else if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end &&
		 ip6->nexthdr == IPPROTO_UDP)
		label = (void *)(ip6 + 1) + sizeof(struct udphdr);
	else
		return NULL;
	return (void *)(label + 1) <= end ? label : NULL;
}

SEC("xdp") int receive(struct xdp_md *ctx)
{
	struct visits_label *label = find_label(ctx);

	if (!label || label->magic != VISITS_MAGIC)
		return XDP_PASS;
	arrive(label);
	return XDP_DROP;
}

/* At a UDP socket, whose packets begin with the UDP header; none is left for its owner to read. */
SEC("socket") int receive_locally(struct __sk_buff *skb)
{
	struct visits_label label;

	if (!bpf_skb_load_bytes(skb, sizeof(struct udphdr), &label, sizeof(label)) &&
	    label.magic == VISITS_MAGIC)
		arrive(&label);
	return 0;
}
