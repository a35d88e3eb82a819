/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * ICMP. An error belongs to the connection of the packet that it quotes, and is
 * translated as that connection's packets in its direction are, the quote the
 * other way round. It proves nothing, so it opens and refreshes no connection.
 * An echo request to a VIP is answered here.
 */
#pragma once

#include <linux/udp.h>

#include "evnf/answer.bpf.h"
#include "evnf/quoted.bpf.h"

#include "lb_fragments.bpf.h"

enum { LB_ECHO = 8, LB_ECHO_REPLY = 0, LB_ECHO6 = 128, LB_ECHO6_REPLY = 129 };

static __always_inline bool lb_is_echo_request(const struct evnf_packet *pkt)
{
	return pkt->icmp_type == (pkt->ip_version == 4 ? LB_ECHO : LB_ECHO6) && !pkt->icmp_code;
}

/* Unreachable, time exceeded, parameter problem; in IPv6, packet too big. */
static __always_inline bool lb_is_error(const struct evnf_packet *pkt)
{
	__u8 type = pkt->icmp_type;

	return pkt->ip_version == 4 ? type == 3 || type == 11 || type == 12 : type >= 1 && type <= 4;
}

/* What one of the two fields that begin an ICMP message, or the like, adds to a sum when it changes. */
static __always_inline __u32 lb_change(__be16 from, __be16 to)
{
	return (__u16)~from + (__u32)to;
}

static __always_inline bool lb_write_echo_ip(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	if (pkt->ip_version == 4) {
		struct iphdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));

		if (!ip)
			return false;
		ip->saddr = pkt->dst.words[3];
		ip->daddr = pkt->src.words[3];
		ip->check = evnf_checksum_add(ip->check, lb_change(bpf_htons(ip->ttl << 8), bpf_htons(EVNF_ANSWER_TTL << 8)));
		ip->ttl = EVNF_ANSWER_TTL;
	} else {
		struct ipv6hdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));

		if (!ip)
			return false;
		__builtin_memcpy(&ip->saddr, &pkt->dst, sizeof(ip->saddr));
		__builtin_memcpy(&ip->daddr, &pkt->src, sizeof(ip->daddr));
		ip->hop_limit = EVNF_ANSWER_TTL;
	}
	return true;
}

/* An answer is as large as its request, so that nobody can send more through us than he sends himself. */
static __always_inline int lb_answer_echo(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	__u8 reply = pkt->ip_version == 4 ? LB_ECHO_REPLY : LB_ECHO6_REPLY;
	struct evnf_icmp_header *icmp = evnf_header(ctx, pkt->l4_offset, sizeof(*icmp));
	__u32 change = lb_change(bpf_htons(pkt->icmp_type << 8), bpf_htons(reply << 8));

	if (!evnf_is_one_station(&pkt->src, pkt->ip_version) || !evnf_is_link_unicast(ctx, pkt))
		return EVNF_NEXT;
	if (!icmp || !evnf_turn_link(ctx, pkt) || !lb_write_echo_ip(ctx, pkt))
		return evnf_drop(EVNF_REASON_TRUNCATED);
	icmp->type = reply;
	/* 0 would be wrong for a reply that is all zeros; 0xffff is right for any. */
	icmp->checksum = evnf_checksum_add(icmp->checksum, change) ?: 0xffff;
	return EVNF_REPLY;
}

/* The tuple of the packets that go the error's way: against the quoted one, which the error's addressee has sent. */
static __always_inline bool lb_quoted_tuple(evnf_ctx *ctx, const struct evnf_packet *pkt,
					    const struct evnf_quoted *quote, struct lb_tuple *tuple)
{
	const struct udphdr *l4 = evnf_header(ctx, quote->l4_offset, sizeof(*l4));

	if (!l4 || (quote->protocol != IPPROTO_TCP && quote->protocol != IPPROTO_UDP) ||
	    quote->l4_offset + sizeof(*l4) > pkt->l3_offset + pkt->l3_length || !lb_same_address(&quote->src, &pkt->dst))
		return false;
	tuple->src = quote->dst;
	tuple->dst = quote->src;
	tuple->sport = l4->dest;
	tuple->dport = l4->source;
	tuple->protocol = quote->protocol;
	return true;
}

/* Writes both addresses of the quoted IP header; false where it is gone. `sum` follows the message's own. */
static __always_inline bool lb_write_quoted_ip(evnf_ctx *ctx, const struct evnf_packet *pkt, __u32 offset,
					       const struct lb_tuple *after, __u32 addresses, __u64 *sum)
{
	*sum += addresses;
	if (pkt->ip_version == 4) {
		struct iphdr *ip = evnf_header(ctx, offset, sizeof(*ip));
		__u16 checksum;

		if (!ip)
			return false;
		checksum = evnf_checksum_add(ip->check, addresses);
		*sum += lb_change(ip->check, checksum);
		ip->check = checksum;
		ip->saddr = after->dst.words[3];
		ip->daddr = after->src.words[3];
	} else {
		struct ipv6hdr *ip = evnf_header(ctx, offset, sizeof(*ip));

		if (!ip)
			return false;
		__builtin_memcpy(&ip->saddr, &after->dst, sizeof(ip->saddr));
		__builtin_memcpy(&ip->daddr, &after->src, sizeof(ip->daddr));
	}
	return true;
}

/* The quoted L4 checksum, where the quote reaches that far: `change` is that of addresses and ports. */
static __always_inline void lb_write_quoted_checksum(evnf_ctx *ctx, const struct evnf_packet *pkt, __u32 offset,
						     __u8 protocol, __u32 change, __u64 *sum)
{
	bool is_udp = protocol == IPPROTO_UDP;
	__u16 *field, checksum;

	offset += is_udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check);
	field = evnf_header(ctx, offset, sizeof(*field));
	if (!field || offset + sizeof(*field) > pkt->l3_offset + (__u32)pkt->l3_length || (is_udp && !*field))
		return;
	checksum = evnf_checksum_add(*field, change);
	if (is_udp && !checksum)
		checksum = 0xffff;
	*sum += lb_change(*field, checksum);
	*field = checksum;
}

/* The quote, from `before` to `after`, which are tuples against it. `sum` gets what that adds to the message's. */
static __always_inline bool lb_rewrite_quote(evnf_ctx *ctx, const struct evnf_packet *pkt,
					     const struct evnf_quoted *quote, const struct lb_tuple *before,
					     const struct lb_tuple *after, __u64 *sum)
{
	__u32 addresses = evnf_fold((__u64)evnf_address_difference(&before->src, &after->src) +
				    evnf_address_difference(&before->dst, &after->dst));
	__u32 ports = lb_change(before->sport, after->sport) + lb_change(before->dport, after->dport);
	struct udphdr *l4;

	if (!lb_write_quoted_ip(ctx, pkt, quote->l3_offset, after, addresses, sum))
		return false;
	l4 = evnf_header(ctx, quote->l4_offset, sizeof(*l4));
	if (!l4)
		return false;
	l4->source = after->dport;
	l4->dest = after->sport;
	*sum += ports;
	lb_write_quoted_checksum(ctx, pkt, quote->l4_offset, quote->protocol, evnf_fold(addresses + ports), sum);
	return true;
}

/* The error's own source is translated if it is the other end's; a router on the way keeps its address. */
static __always_inline int lb_rewrite_error(evnf_ctx *ctx, struct evnf_packet *pkt, struct lb_scratch *scratch)
{
	const struct lb_tuple *before = &scratch->before, *after = &scratch->after;
	__u32 checksum = pkt->l4_offset + offsetof(struct evnf_icmp_header, checksum), outer;
	__u64 sum = 0;

	scratch->src = lb_same_address(&pkt->src, &before->src) ? after->src : pkt->src;
	if (!lb_rewrite_quote(ctx, pkt, &scratch->quote, before, after, &sum) ||
	    !lb_readdress(ctx, pkt, &scratch->src, &after->dst, &outer) ||
	    !evnf_adjust_l4_checksum(ctx, checksum, pkt->ip_version == 6 ? evnf_fold(outer) : 0, evnf_fold(sum), false))
		return evnf_drop(EVNF_REASON_TRUNCATED);
	return EVNF_NEXT;
}

static __always_inline int lb_translate_error(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	struct lb_scratch *scratch = lb_scratch();

	if (!scratch)
		return evnf_drop(EVNF_REASON_INTERNAL);
	if (!evnf_read_quoted(ctx, pkt, &scratch->quote) ||
	    !lb_quoted_tuple(ctx, pkt, &scratch->quote, &scratch->before) ||
	    !lb_peek(scratch, pkt->now))
		return EVNF_NEXT;
	lb_count(pkt, scratch->backend);
	return lb_rewrite_error(ctx, pkt, scratch);
}

/* What is neither TCP nor UDP. */
__noinline int lb_other_protocol(evnf_ctx *ctx)
{
	struct evnf_packet *pkt = evnf_current_packet();
	const struct lb_vip *vip;

	if (!pkt)
		return evnf_drop(EVNF_REASON_INTERNAL);
	if (pkt->protocol != (pkt->ip_version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return EVNF_NEXT;
	if (EVNF_TC)
		evnf_pull(ctx);
	if (lb_is_error(pkt))
		return lb_translate_error(ctx, pkt);
	vip = lb_find_vip(&pkt->dst);
	if (!lb_is_echo_request(pkt) || pkt->ip_options || !vip || vip->local)
		return EVNF_NEXT;
	return pkt->fragment ? evnf_drop(EVNF_REASON_FRAGMENT) : lb_answer_echo(ctx, pkt);
}
