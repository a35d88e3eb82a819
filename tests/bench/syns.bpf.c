// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The flood: run by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, it writes
 * one SYN and sends it out of the interface in `egress`, when the next is due.
 * Each comes from another address of 128.0.0.0/2 and another port, in an order
 * that looks random.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Packets that are made up for when this CPU did something else. */
#define MOST_OVERDUE_NS 20000000ULL

enum {
	PORT_BITS = 16,
	SOURCE_BITS = 30 + PORT_BITS, /* of the source address and port together: those that vary */
};

struct syn {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

/* Written by user space before the first run: a SYN from port 0 of 128.0.0.0. */
__u8 headers[sizeof(struct syn)] = {};
__u64 next_source = 0; /* numbers what is sent; wraps */
__u64 sent = 0;
__u64 interval = 0; /* ns between packets */
__u64 due = 0;      /* the next one, by the monotonic clock */

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} egress SEC(".maps");

/* Stirs the bits of a number, another one for each number. */
static __always_inline __u64 source_of(__u64 number)
{
	const __u64 mask = (1ULL << SOURCE_BITS) - 1;

	number = number * 0x9e3779b97f4a7c15ULL & mask;
	number ^= number >> SOURCE_BITS / 2;
	return number * 0xbf58476d1ce4e5b9ULL & mask;
}

/* RFC 1624, where `added` was 0 before. */
static __always_inline __sum16 checksum_with(__sum16 checksum, __u32 added)
{
	__u32 sum = (__u16)~checksum + added;

	sum = (sum >> 16) + (__u16)sum;
	return ~(sum + (sum >> 16));
}

static __always_inline void set_source(struct syn *syn, __u64 source)
{
	__be32 host = bpf_htonl(source >> PORT_BITS);
	__be16 port = bpf_htons(source);
	__u32 added = (host >> 16) + (__u16)host;

	syn->ip.saddr |= host;
	syn->ip.check = checksum_with(syn->ip.check, added);
	syn->tcp.source = port;
	syn->tcp.check = checksum_with(syn->tcp.check, added + port);
}

static __always_inline bool is_due(void)
{
	__u64 now = bpf_ktime_get_ns();

	if (now < due)
		return false;
	if (due + MOST_OVERDUE_NS < now)
		due = now - MOST_OVERDUE_NS;
	due += interval;
	return true;
}

SEC("xdp") int flood(struct xdp_md *ctx)
{
	struct syn *syn = (void *)(long)ctx->data;

	if ((void *)(syn + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (!is_due())
		return XDP_DROP;
	/* All of it, every time: pages come back as the receiver left them. */
	__builtin_memcpy(syn, headers, sizeof(*syn));
	set_source(syn, source_of(next_source++));
	sent++;
	return bpf_redirect_map(&egress, 0, 0);
}
