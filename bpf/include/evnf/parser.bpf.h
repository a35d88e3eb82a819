/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Parser: frame bytes -> struct evnf_packet. Each step checks the lengths that
 * the headers claim against the frame, and gives EVNF_NEXT or a decision with
 * the reason. What cannot be parsed is dropped by name, never waved through.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "stage.bpf.h"

#define EVNF_MAX_VLAN_TAGS 2
#define EVNF_MAX_EXTENSION_HEADERS 8

#define IP_OFFSET_MASK 0x1fff
#define IP_MORE_FRAGMENTS 0x2000

struct evnf_vlan_header {
	__be16 tci;
	__be16 type;
};

/* The fields that every IPv6 extension header begins with (RFC 8200, section 4). */
struct evnf_extension_header {
	__u8 next;
	__u8 length; /* 8-byte units after the first 8; AH: 4-byte units less 2; reserved in Fragment */
	__u8 routing_type;
	__u8 segments_left;
};

struct evnf_fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset; /* 13 bits of 8-byte units, 2 reserved, 1 more-fragments */
	__be32 id;
};

struct evnf_sctp_header {
	__be16 sport;
	__be16 dport;
	__be32 tag;
	__be32 checksum;
};

struct evnf_icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

static __always_inline bool evnf_is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Where there is no link header, the kernel says what the packet is. */
static __always_inline int evnf_parse_bare(evnf_ctx *ctx, struct evnf_packet *pkt, __be16 *type)
{
	*type = evnf_protocol(ctx);
	pkt->vlan_tags = 0;
	pkt->vlan[0] = EVNF_NO_VLAN;
	pkt->vlan[1] = EVNF_NO_VLAN;
	pkt->l3_offset = 0;
	return EVNF_NEXT;
}

/* Ethernet and VLAN tags; `type` gets the ethertype behind them. */
static __always_inline int evnf_parse_ethernet(evnf_ctx *ctx, struct evnf_packet *pkt, __be16 *type)
{
	struct ethhdr *eth = evnf_header(ctx, 0, sizeof(*eth));
	__u16 offset = sizeof(*eth);
	int outer = evnf_outer_vlan(ctx);

	if (!eth)
		return evnf_drop(EVNF_REASON_MALFORMED_ETHERNET);
	*type = eth->h_proto;
	pkt->vlan_tags = outer >= 0;
	pkt->vlan[0] = outer >= 0 ? outer : EVNF_NO_VLAN;
	pkt->vlan[1] = EVNF_NO_VLAN;
#pragma unroll
	for (int i = 0; i < EVNF_MAX_VLAN_TAGS; i++) {
		struct evnf_vlan_header *tag;

		if (!evnf_is_vlan(*type) || pkt->vlan_tags == EVNF_MAX_VLAN_TAGS)
			break;
		tag = evnf_header(ctx, offset, sizeof(*tag));
		if (!tag)
			return evnf_drop(EVNF_REASON_MALFORMED_ETHERNET);
		pkt->vlan[pkt->vlan_tags & 1] = bpf_ntohs(tag->tci) & 0xfff;
		pkt->vlan_tags++;
		*type = tag->type;
		offset += sizeof(*tag);
	}
	pkt->l3_offset = offset;
	return evnf_is_vlan(*type) ? evnf_drop(EVNF_REASON_TOO_MANY_VLAN_TAGS) : EVNF_NEXT;
}

static __always_inline void evnf_map_ipv4(union evnf_address *to, __be32 address)
{
	to->halves[0] = 0;
	to->words[2] = bpf_htonl(0xffff);
	to->words[3] = address;
}

static __always_inline int evnf_parse_ipv4(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	struct iphdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));
	__u32 header_length, total_length, fragment;

	if (!ip || ip->version != 4)
		return evnf_drop(EVNF_REASON_MALFORMED_IPV4);
	header_length = ip->ihl * 4;
	total_length = bpf_ntohs(ip->tot_len);
	if (header_length < sizeof(*ip) || total_length < header_length ||
	    pkt->l3_offset + total_length > pkt->frame_length)
		return evnf_drop(EVNF_REASON_MALFORMED_IPV4);
	evnf_map_ipv4(&pkt->src, ip->saddr);
	evnf_map_ipv4(&pkt->dst, ip->daddr);
	fragment = bpf_ntohs(ip->frag_off);
	pkt->ip_version = 4;
	pkt->protocol = ip->protocol;
	pkt->ttl = ip->ttl;
	pkt->tos = ip->tos;
	pkt->ip_options = header_length > sizeof(*ip);
	pkt->l3_length = total_length;
	pkt->l4_offset = pkt->l3_offset + header_length;
	pkt->fragment_id = ip->id;
	if (fragment & IP_OFFSET_MASK)
		pkt->fragment = EVNF_FRAGMENT_LATER;
	else
		pkt->fragment = fragment & IP_MORE_FRAGMENTS ? EVNF_FRAGMENT_FIRST : EVNF_FRAGMENT_NONE;
	/* RFC 3128: a second fragment that would overwrite the TCP flags of the first. */
	if ((fragment & IP_OFFSET_MASK) == 1 && pkt->protocol == IPPROTO_TCP)
		return evnf_drop(EVNF_REASON_TINY_FRAGMENT);
	return EVNF_NEXT;
}

/* Behind a later fragment's header stands payload, whatever its next-header says. */
static __always_inline bool evnf_at_extension(const struct evnf_packet *pkt)
{
	__u8 protocol = pkt->protocol;

	return pkt->fragment != EVNF_FRAGMENT_LATER &&
	       (protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
		protocol == IPPROTO_FRAGMENT || protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_AH);
}

/* One extension header: its length in bytes, or 0 with `decision` set. */
static __always_inline __u32 evnf_parse_extension(evnf_ctx *ctx, struct evnf_packet *pkt, __u32 offset,
						  int *decision)
{
	struct evnf_extension_header *header = evnf_header(ctx, offset, 8);
	struct evnf_fragment_header *fragment = (void *)header;
	__u8 protocol = pkt->protocol;

	if (!header) {
		*decision = evnf_drop(offset > EVNF_MAX_OFFSET ? EVNF_REASON_TOO_MANY_HEADERS :
								 EVNF_REASON_MALFORMED_IPV6);
		return 0;
	}
	pkt->protocol = header->next;
	if (protocol == IPPROTO_HOPOPTS)
		pkt->ip_options = 1;
	if (protocol == IPPROTO_FRAGMENT) {
		__u16 bits = bpf_ntohs(fragment->offset);

		if (bits >> 3)
			pkt->fragment = EVNF_FRAGMENT_LATER;
		else if (bits & 1)
			pkt->fragment = EVNF_FRAGMENT_FIRST;
		pkt->fragment_id = fragment->id;
		return sizeof(*fragment);
	}
	if (protocol == IPPROTO_ROUTING && header->routing_type == 0) {
		*decision = evnf_drop(EVNF_REASON_ROUTING_HEADER_0);
		return 0;
	}
	return protocol == IPPROTO_AH ? (header->length + 2) * 4 : (header->length + 1) * 8;
}

/* On the wire such an address could pass for the IPv4 one that we write the same way. */
static __always_inline bool evnf_is_mapped_ipv4(const union evnf_address *address)
{
	return !address->halves[0] && address->words[2] == bpf_htonl(0xffff);
}

static __always_inline int evnf_parse_ipv6(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	struct ipv6hdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));
	__u32 offset = pkt->l3_offset + sizeof(*ip), length;
	int decision = EVNF_NEXT;

	if (!ip || ip->version != 6)
		return evnf_drop(EVNF_REASON_MALFORMED_IPV6);
	length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	if (pkt->l3_offset + length > pkt->frame_length)
		return evnf_drop(EVNF_REASON_MALFORMED_IPV6);
	__builtin_memcpy(&pkt->src, &ip->saddr, sizeof(pkt->src));
	__builtin_memcpy(&pkt->dst, &ip->daddr, sizeof(pkt->dst));
	if (evnf_is_mapped_ipv4(&pkt->src) || evnf_is_mapped_ipv4(&pkt->dst))
		return evnf_drop(EVNF_REASON_MALFORMED_IPV6);
	pkt->ip_version = 6;
	pkt->protocol = ip->nexthdr;
	pkt->ttl = ip->hop_limit;
	pkt->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	pkt->ip_options = 0;
	pkt->fragment = EVNF_FRAGMENT_NONE;
	pkt->l3_length = length;
	for (int i = 0; i < EVNF_MAX_EXTENSION_HEADERS; i++) {
		if (!evnf_at_extension(pkt))
			break;
		offset += evnf_parse_extension(ctx, pkt, offset, &decision);
		if (decision != EVNF_NEXT)
			return decision;
	}
	if (evnf_at_extension(pkt) || offset > EVNF_MAX_OFFSET)
		return evnf_drop(EVNF_REASON_TOO_MANY_HEADERS);
	if (offset > pkt->l3_offset + length)
		return evnf_drop(EVNF_REASON_MALFORMED_IPV6);
	pkt->l4_offset = offset;
	return EVNF_NEXT;
}

/* The L4 header's fields; its length in bytes, or 0 where it is cut short or impossible. */
static __always_inline __u32 evnf_parse_l4_header(evnf_ctx *ctx, struct evnf_packet *pkt, __u32 room)
{
	__u32 offset = pkt->l4_offset;
	struct evnf_icmp_header *icmp;

	if (pkt->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = evnf_header(ctx, offset, sizeof(*tcp));

		if (!tcp || tcp->doff < 5 || tcp->doff * 4u > room)
			return 0;
		pkt->sport = tcp->source;
		pkt->dport = tcp->dest;
		pkt->tcp_flags = ((__u8 *)tcp)[13];
		return tcp->doff * 4;
	}
	if (pkt->protocol == IPPROTO_UDP) {
		struct udphdr *udp = evnf_header(ctx, offset, sizeof(*udp));

		if (!udp || bpf_ntohs(udp->len) < sizeof(*udp) || room < sizeof(*udp) ||
		    (pkt->fragment == EVNF_FRAGMENT_NONE && bpf_ntohs(udp->len) > room))
			return 0;
		pkt->sport = udp->source;
		pkt->dport = udp->dest;
		return sizeof(*udp);
	}
	if (pkt->protocol == IPPROTO_SCTP) {
		struct evnf_sctp_header *sctp = evnf_header(ctx, offset, sizeof(*sctp));

		if (!sctp || room < sizeof(*sctp))
			return 0;
		pkt->sport = sctp->sport;
		pkt->dport = sctp->dport;
		return sizeof(*sctp);
	}
	icmp = evnf_header(ctx, offset, sizeof(*icmp));
	if (!icmp || room < sizeof(*icmp))
		return 0;
	pkt->icmp_type = icmp->type;
	pkt->icmp_code = icmp->code;
	return sizeof(*icmp);
}

static __always_inline bool evnf_has_l4_header(const struct evnf_packet *pkt)
{
	return pkt->protocol == IPPROTO_TCP || pkt->protocol == IPPROTO_UDP ||
	       pkt->protocol == IPPROTO_SCTP ||
	       (pkt->ip_version == 4 && pkt->protocol == IPPROTO_ICMP) ||
	       (pkt->ip_version == 6 && pkt->protocol == IPPROTO_ICMPV6);
}

static __always_inline int evnf_parse_l4(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	__u32 room = pkt->l3_offset + pkt->l3_length - pkt->l4_offset, length;

	pkt->sport = 0;
	pkt->dport = 0;
	pkt->tcp_flags = 0;
	pkt->icmp_type = 0;
	pkt->icmp_code = 0;
	pkt->payload_offset = pkt->l4_offset;
	if (pkt->fragment == EVNF_FRAGMENT_LATER || !evnf_has_l4_header(pkt))
		return EVNF_NEXT;
	length = evnf_parse_l4_header(ctx, pkt, room);
	if (!length)
		return evnf_drop(pkt->fragment == EVNF_FRAGMENT_FIRST ? EVNF_REASON_TINY_FRAGMENT :
									EVNF_REASON_MALFORMED_L4);
	pkt->payload_offset = pkt->l4_offset + length;
	return EVNF_NEXT;
}

static __always_inline int evnf_parse_once(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	__be16 type = 0;
	int decision = EVNF_TC && pkt->bare ? evnf_parse_bare(ctx, pkt, &type) : evnf_parse_ethernet(ctx, pkt, &type);

	pkt->ip_version = 0;
	if (decision != EVNF_NEXT)
		return decision;
	if (type == bpf_htons(ETH_P_IP))
		decision = evnf_parse_ipv4(ctx, pkt);
	else if (type == bpf_htons(ETH_P_IPV6))
		decision = evnf_parse_ipv6(ctx, pkt);
	else
		return evnf_kernel(EVNF_REASON_NOT_IP);
	return decision == EVNF_NEXT ? evnf_parse_l4(ctx, pkt) : decision;
}

/*
 * The whole frame. EVNF_KERNEL with NOT_IP for what is no IP; a drop for what is
 * malformed, which at tc may only mean that a header was out of direct reach.
 */
static __always_inline int evnf_parse(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	int decision = evnf_parse_once(ctx, pkt);

	if (EVNF_TC && (decision & 0xff) == EVNF_DROP && evnf_pull(ctx))
		decision = evnf_parse_once(ctx, pkt);
	return decision;
}

/*
 * Traffic that no rule may stop, or the VM would lose its own connection:
 * neighbour discovery (RFC 4861: hop limit 255), MLD (RFC 3810: hop limit 1)
 * and the answers that a DHCP client waits for.
 */
static __always_inline bool evnf_is_control(const struct evnf_packet *pkt)
{
	if (pkt->fragment != EVNF_FRAGMENT_NONE)
		return false;
	if (pkt->ip_version == 6 && pkt->protocol == IPPROTO_ICMPV6)
		return (pkt->ttl == 255 && pkt->icmp_type >= 133 && pkt->icmp_type <= 137) ||
		       (pkt->ttl == 1 && ((pkt->icmp_type >= 130 && pkt->icmp_type <= 132) ||
					  pkt->icmp_type == 143));
	if (pkt->protocol != IPPROTO_UDP)
		return false;
	return pkt->ip_version == 4 ?
		       pkt->sport == bpf_htons(67) && pkt->dport == bpf_htons(68) :
		       pkt->sport == bpf_htons(547) && pkt->dport == bpf_htons(546);
}
