/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What paced floods share: packets come from addresses of 128.0.0.0/2 and ports
 * in an order that looks random, leave by the interface in `egress`, and each
 * when it is due.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Packets that are made up for when this CPU did something else. */
#define MOST_OVERDUE_NS 20000000ULL

enum {
	PORT_BITS = 16,
	SOURCE_BITS = 30 + PORT_BITS, /* of the source address and port together: those that vary */
};

__u64 sent = 0;
__u64 interval = 0; /* ns between packets, written by user space before the first run */
__u64 due = 0;      /* the next one, by the monotonic clock */

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} egress SEC(".maps");

struct network_headers {
	struct ethhdr eth;
	struct iphdr ip;
} __attribute__((packed));

struct source {
	__be32 host; /* the bits that vary */
	__be16 port;
	__u32 sum; /* of both, as checksums want it */
	__u32 host_sum;
};

/* Stirs the bits of a number: another source for each number, up to 2^SOURCE_BITS. */
static __always_inline struct source source_of(__u64 number)
{
	const __u64 mask = (1ULL << SOURCE_BITS) - 1;
	struct source source;

	number = number * 0x9e3779b97f4a7c15ULL & mask;
	number ^= number >> SOURCE_BITS / 2;
	number = number * 0xbf58476d1ce4e5b9ULL & mask;
	source.host = bpf_htonl(number >> PORT_BITS);
	source.port = bpf_htons(number);
	source.host_sum = (source.host >> 16) + (__u16)source.host;
	source.sum = source.host_sum + source.port;
	return source;
}

/* RFC 1624, where `added` was 0 before. */
static __always_inline __sum16 checksum_with(__sum16 checksum, __u32 added)
{
	__u32 sum = (__u16)~checksum + added;

	sum = (sum >> 16) + (__u16)sum;
	return ~(sum + (sum >> 16));
}

static __always_inline void set_source_host(struct network_headers *headers, const struct source *source)
{
	headers->ip.saddr |= source->host;
	headers->ip.check = checksum_with(headers->ip.check, source->host_sum);
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
