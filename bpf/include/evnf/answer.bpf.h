/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What it takes to turn a packet into its own answer (EVNF_REPLY). */
#pragma once

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "checksum.bpf.h"
#include "stage.bpf.h"

enum { EVNF_ANSWER_TTL = 64 };

/* One station's address that another can answer to: not multicast, broadcast, unspecified or loopback. */
static __always_inline bool evnf_is_one_station(const union evnf_address *address, __u8 ip_version)
{
	__u8 first = address->bytes[12];

	if (ip_version == 4)
		return first != 0 && first != 127 && first < 224;
	return address->bytes[0] != 0xff && (address->halves[0] || bpf_be64_to_cpu(address->halves[1]) > 1);
}

/* Did it come to this station alone? */
static __always_inline bool evnf_is_link_unicast(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	const struct ethhdr *eth = pkt->bare ? NULL : evnf_header(ctx, 0, sizeof(*eth));

	return !eth || !(eth->h_dest[0] & 1);
}

static __always_inline bool evnf_turn_link(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	struct ethhdr *eth = evnf_header(ctx, 0, sizeof(*eth));
	__u8 mac[ETH_ALEN];

	if (pkt->bare)
		return true;
	if (!eth)
		return false;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	return true;
}

/* The length of the answer's IP header, which has no options. */
static __always_inline __u32 evnf_answer_header(const struct evnf_packet *pkt)
{
	return pkt->ip_version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
}

static __always_inline bool evnf_write_answer4(evnf_ctx *ctx, const struct evnf_packet *pkt, __u8 tos, __u8 protocol,
					       __u32 length)
{
	struct iphdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));
	__u64 sum = 0;

	if (!ip)
		return false;
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = tos;
	ip->tot_len = bpf_htons(sizeof(*ip) + length);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000); /* don't fragment: so the id may be 0 (RFC 6864) */
	ip->ttl = EVNF_ANSWER_TTL;
	ip->protocol = protocol;
	ip->check = 0;
	ip->saddr = pkt->dst.words[3];
	ip->daddr = pkt->src.words[3];
#pragma unroll
	for (int i = 0; i < 5; i++)
		sum += ((__u32 *)ip)[i];
	ip->check = ~evnf_fold(sum);
	return true;
}

static __always_inline bool evnf_write_answer6(evnf_ctx *ctx, const struct evnf_packet *pkt, __u8 protocol, __u32 length)
{
	struct ipv6hdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));

	if (!ip)
		return false;
	*(__be32 *)ip = bpf_htonl(6u << 28);
	ip->payload_len = bpf_htons(length);
	ip->nexthdr = protocol;
	ip->hop_limit = EVNF_ANSWER_TTL;
	__builtin_memcpy(&ip->saddr, &pkt->dst, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, &pkt->src, sizeof(ip->daddr));
	return true;
}

/* Over the answer's. In IPv4 over the mapped form: what both addresses share adds up to -0. */
static __always_inline __u64 evnf_answer_pseudo_header(const struct evnf_packet *pkt, __u8 protocol, __u32 length)
{
	__u64 sum = (__u64)bpf_htonl(protocol) + bpf_htonl(length);

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)pkt->src.words[i] + pkt->dst.words[i];
	return sum;
}
