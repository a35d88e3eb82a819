/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Next hops: destination -> egress port, MAC addresses, MTU. The kernel's FIB
 * is the truth; what it said is remembered per CPU in a direct-mapped cache,
 * because asking it costs more than all the rest of a chain. A lookup costs an
 * array access whatever is in the cache; a collision costs one more FIB lookup.
 */
#pragma once

#include "parser.bpf.h"
#include "port.bpf.h"

#ifndef AF_INET
#define AF_INET 2
#define AF_INET6 10
#endif

struct evnf_nexthop {
	union evnf_address dst;
	__u64 made; /* jiffies */
	__u32 routing_generation;
	__u16 ingress;
	__u16 egress; /* port index */
	__u16 mtu;
	__u8 dmac[6];
	__u8 smac[6];
	__u16 pad;
};
EVNF_STATIC_ASSERT(sizeof(struct evnf_nexthop) == 48);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVNF_NEXTHOPS);
	__type(key, __u32);
	__type(value, struct evnf_nexthop);
} evnf_nexthops SEC(".maps");

/* The neighbours in use, for the daemon to keep alive: XDP traffic does not refresh them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct evnf_neighbour);
	__type(value, __u64);
} evnf_neighbours SEC(".maps");

static __always_inline struct evnf_nexthop *evnf_nexthop_entry(const struct evnf_packet *pkt)
{
	const union evnf_address *dst = &pkt->dst;
	__u32 mixed = dst->words[0] ^ dst->words[1] ^ dst->words[2] ^ dst->words[3];
	__u32 index = (mixed * 0x9e3779b1u >> 20) & (EVNF_NEXTHOPS - 1);

	return bpf_map_lookup_elem(&evnf_nexthops, &index);
}

static __always_inline bool evnf_nexthop_valid(const struct evnf_nexthop *hop, const struct evnf_packet *pkt,
					       const struct evnf_routing *routing)
{
	return routing->cacheable && hop->routing_generation == routing->generation &&
	       pkt->now - hop->made < EVNF_NEXTHOP_JIFFIES && hop->ingress == pkt->port &&
	       hop->dst.halves[0] == pkt->dst.halves[0] && hop->dst.halves[1] == pkt->dst.halves[1];
}

static __always_inline enum evnf_reason evnf_fib_reason(long result)
{
	switch (result) {
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return EVNF_REASON_NO_NEIGHBOUR;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return EVNF_REASON_FRAGMENTATION_NEEDED;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return EVNF_REASON_NO_ROUTE;
	default:
		return EVNF_REASON_NOT_FORWARDED;
	}
}

static __always_inline long evnf_fib_lookup(evnf_ctx *ctx, const struct evnf_packet *pkt,
					    struct bpf_fib_lookup *fib)
{
	fib->l4_protocol = pkt->protocol;
	fib->sport = pkt->sport;
	fib->dport = pkt->dport;
	fib->tot_len = evnf_segment_length(ctx, pkt);
	fib->ifindex = ctx->ingress_ifindex;
	if (pkt->ip_version == 4) {
		fib->family = AF_INET;
		fib->tos = pkt->tos;
		fib->ipv4_src = pkt->src.words[3];
		fib->ipv4_dst = pkt->dst.words[3];
	} else {
		fib->family = AF_INET6;
		__builtin_memcpy(fib->ipv6_src, &pkt->src, sizeof(pkt->src));
		__builtin_memcpy(fib->ipv6_dst, &pkt->dst, sizeof(pkt->dst));
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
}

static __always_inline void evnf_use_neighbour(const struct bpf_fib_lookup *fib, __u64 now)
{
	struct evnf_neighbour key = { .ifindex = fib->ifindex };

	if (fib->family == AF_INET)
		evnf_map_ipv4(&key.address, fib->ipv4_dst);
	else
		__builtin_memcpy(&key.address, fib->ipv6_dst, sizeof(key.address));
	bpf_map_update_elem(&evnf_neighbours, &key, &now, BPF_ANY);
}

/*
 * Asks the FIB and remembers the answer in `hop`: EVNF_NEXT, or why the kernel
 * must do it. `egress` gets the interface, also where its neighbour is unknown.
 */
static __always_inline int evnf_nexthop_resolve(evnf_ctx *ctx, const struct evnf_packet *pkt,
						const struct evnf_routing *routing, struct evnf_nexthop *hop,
						__u32 *egress)
{
	struct bpf_fib_lookup fib = {};
	__u32 *port, generation = routing->generation; /* read before asking: never newer than the answer */
	long result = evnf_fib_lookup(ctx, pkt, &fib);

	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return evnf_kernel(result < 0 ? EVNF_REASON_NOT_FORWARDED : evnf_fib_reason(result));
	*egress = fib.ifindex;
	port = bpf_map_lookup_elem(&evnf_port_by_ifindex, &fib.ifindex);
	if (!port)
		return evnf_kernel(EVNF_REASON_EGRESS_NOT_A_PORT);
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH)
		return evnf_kernel(EVNF_REASON_NO_NEIGHBOUR);
	evnf_use_neighbour(&fib, pkt->now);
	hop->dst = pkt->dst;
	hop->made = pkt->now;
	hop->routing_generation = generation;
	hop->ingress = pkt->port;
	hop->egress = *port;
	hop->mtu = fib.mtu_result;
	__builtin_memcpy(hop->dmac, fib.dmac, sizeof(hop->dmac));
	__builtin_memcpy(hop->smac, fib.smac, sizeof(hop->smac));
	return EVNF_NEXT;
}
