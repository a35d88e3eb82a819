// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The generator: run by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, it
 * makes one labelled UDP packet of a random route and sends it, unless so many
 * are on their way that one might be lost in a full queue: on their way to the
 * VNF, or where all packets arrive, to the receivers.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "visits_shared.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum {
	FIRST_SPORT = 1024,
	TTL = 64,
	MAX_UNDER_WAY = 128, /* half of what a veth's queue holds */
};

/* What we need of the kernel's own types; libbpf finds the fields in its BTF. */
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
struct napi_struct {
	struct net_device *dev;
};
#pragma clang attribute pop

const volatile __u32 vnf_netns = 0;   /* inode number */
const volatile int vnf_ifindex = 0;   /* of the VNF's end of `egress` */
const volatile bool all_arrive = false;
const volatile __u32 flows = 0; /* of each route, a power of 2: what dpi and lb have to remember is bounded */

/* Written by user space before the first run. One CPU runs the program. */
struct visits_route routes[VISITS_MAX_ROUTES] = {};
__u32 route_count = 0;
__u64 random_state = 0;
__u64 flow_salt = 0;
__u8 router[ETH_ALEN] = {};
__u8 source_mac[ETH_ALEN] = {};
/* The first of 65536 addresses that packets come from. */
__be32 source = 0;
__u8 source6[16] = {};

__u64 number = 0; /* of the next packet */
__u64 taken = 0;  /* frames that the VNF has taken in */
__u64 sent[VISITS_MAX_ROUTES] = {};

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} egress SEC(".maps");

/* The receivers' own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

/* xorshift64* (Vigna) */
static __always_inline __u32 random(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1dULL >> 32;
}

/* All random bits of a flow's addresses and ports. */
static __always_inline __u64 random_flow(__u32 route)
{
	__u64 flow = flow_salt + route * flows + (random() & (flows - 1));

	flow = (flow ^ flow >> 30) * 0xbf58476d1ce4e5b9ULL;
	flow = (flow ^ flow >> 27) * 0x94d049bb133111ebULL;
	return flow ^ flow >> 31;
}

static __always_inline void write_eth(struct ethhdr *eth, __be16 type)
{
	__builtin_memcpy(eth->h_dest, router, ETH_ALEN);
	__builtin_memcpy(eth->h_source, source_mac, ETH_ALEN);
	eth->h_proto = type;
}

static __always_inline void write_udp(struct udphdr *udp, const struct visits_route *route, __u64 flow,
				      __u32 length)
{
	udp->source = bpf_htons(FIRST_SPORT + (__u16)flow % (0x10000 - FIRST_SPORT));
	udp->dest = bpf_htons(route->port + (__u16)(flow >> 16) % route->ports);
	udp->len = bpf_htons(length);
	udp->check = 0;
}

static __always_inline void write_label(struct visits_label *label, __u32 route)
{
	__builtin_memset(label, 0, sizeof(*label));
	label->magic = VISITS_MAGIC;
	label->number = number++;
	label->route = route;
}

static __always_inline __u16 header_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum >> 16) + (__u16)sum;
	return ~(sum + (sum >> 16));
}

static __always_inline void write_ip(struct iphdr *ip, const struct visits_route *route, __u64 flow,
				     __u32 length)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = bpf_htons(length);
	ip->id = random();
	ip->frag_off = route->dont_fragment ? bpf_htons(0x4000) : 0;
	ip->ttl = TTL;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = source | bpf_htonl(flow >> 32 & 0xffff);
	__builtin_memcpy(&ip->daddr, route->to + 12, 4);
	ip->daddr |= bpf_htonl(flow >> 48 & (route->hosts - 1));
	ip->check = header_checksum(ip);
}

static __always_inline void write_ip6(struct ipv6hdr *ip, const struct visits_route *route, __u64 flow,
				      __u32 length)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 6;
	ip->payload_len = bpf_htons(length - sizeof(*ip));
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = TTL;
	__builtin_memcpy(&ip->saddr, source6, 16);
	ip->saddr.in6_u.u6_addr32[3] |= bpf_htonl(flow >> 32 & 0xffff);
	__builtin_memcpy(&ip->daddr, route->to, 16);
	ip->daddr.in6_u.u6_addr32[3] |= bpf_htonl(flow >> 48 & (route->hosts - 1));
}

/*
 * The whole frame that is read, every time: pages come back as the receiver left
 * them. `version` is a constant wherever this is called.
 */
static __always_inline bool write_frame(struct xdp_md *ctx, __u32 version, __u32 index, __u64 flow,
					__u32 length)
{
	__u32 header = version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	const struct visits_route *route = &routes[index];
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *ip = eth + 1;
	struct udphdr *udp = ip + header;
	struct visits_label *label = (void *)(udp + 1);

	if ((void *)(label + 1) > (void *)(long)ctx->data_end)
		return false;
	write_eth(eth, version == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6));
	if (version == 4)
		write_ip(ip, route, flow, length);
	else
		write_ip6(ip, route, flow, length);
	write_udp(udp, route, flow, length - header);
	write_label(label, index);
	return true;
}

/* The VNF's eth0 has emptied its queue by `work` frames. */
SEC("tp_btf/napi_poll") int BPF_PROG(on_napi_poll, const struct napi_struct *napi, int work)
{
	const struct net_device *dev = napi->dev;

	if (dev && dev->ifindex == vnf_ifindex && dev->nd_net.net->ns.inum == vnf_netns)
		__sync_fetch_and_add(&taken, work);
	return 0;
}

static __always_inline bool may_send(void)
{
	__u32 zero = 0;
	__u64 *received = bpf_map_lookup_elem(&arrived, &zero);

	return received && number < (all_arrive ? *received : taken) + MAX_UNDER_WAY;
}

static __always_inline int send(struct xdp_md *ctx)
{
	__u32 index = random() % route_count & (VISITS_MAX_ROUTES - 1); /* masked for the verifier's sake */
	const struct visits_route *route = &routes[index];
	__u64 flow = random_flow(index);
	__u32 full = ctx->data_end - ctx->data;
	__u32 length = route->shortest + random() % (route->longest - route->shortest + 1);

	if (bpf_xdp_adjust_tail(ctx, (int)(ETH_HLEN + length) - (int)full))
		return XDP_ABORTED;
	if (route->ip_version == 4 ? !write_frame(ctx, 4, index, flow, length) :
				     !write_frame(ctx, 6, index, flow, length))
		return XDP_ABORTED;
	sent[index]++;
	return bpf_redirect_map(&egress, 0, 0);
}

SEC("xdp") int generate(struct xdp_md *ctx)
{
	return may_send() ? send(ctx) : XDP_DROP;
}
