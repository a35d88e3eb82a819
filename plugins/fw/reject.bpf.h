/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Action reject: the packet becomes its own answer and goes back to its sender.
 * A TCP segment is answered by a reset (RFC 9293, section 3.10.7.1), anything
 * else by an ICMP error (RFC 1122, 1812, 4443), both in the name of the
 * packet's destination. What must not be answered is dropped.
 */
#pragma once

#include <evnf/parser.bpf.h>
#include <evnf/reset.bpf.h>

#include <stddef.h>

#include "classifier.bpf.h"

enum {
	FW_TOS_INTERNET_CONTROL = 0xc0, /* of ICMP errors: RFC 1812, section 4.3.2.5 */
	FW_ICMP_HEADER = sizeof(struct evnf_icmp_header),
	FW_LINK_HEADER = 24, /* room for Ethernet and two tags, no more than what goes before a quoted packet */
	/* What an error may quote: 576 bytes in all (RFC 1812, section 4.3.2.3) and 1280 (RFC 4443, section 2.4). */
	FW_QUOTE4 = 576 - sizeof(struct iphdr) - FW_ICMP_HEADER,
	FW_QUOTE6 = 1280 - sizeof(struct ipv6hdr) - FW_ICMP_HEADER,
	FW_QUOTE_WORDS = FW_QUOTE6 / 4,
};

/* Beside the types in l4.bpf.h. */
enum {
	FW_ICMP4_UNREACHABLE_PORT = 3,
	FW_ICMP4_UNREACHABLE_PROHIBITED = 13,
	FW_ICMP6_UNREACHABLE = 1,
	FW_ICMP6_UNREACHABLE_PROHIBITED = 1,
	FW_ICMP6_UNREACHABLE_PORT = 4,
	FW_ICMP6_REDIRECT = 137,
};

const volatile struct evnf_event_limit fw_reject_limit = {};

/* Answers that this CPU may still give. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct evnf_bucket);
} fw_reject_buckets SEC(".maps");

/* The quoted bytes once more, where they can be summed up, with zeros up to a whole word. */
struct fw_quote {
	__u32 words[FW_QUOTE_WORDS + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_quote);
} fw_quotes SEC(".maps");

static __always_inline bool fw_has_tcp(const struct evnf_packet *pkt)
{
	return pkt->protocol == IPPROTO_TCP;
}

/* Of ICMP only requests and answers are answered: errors and redirects never, nor what nobody knows. */
static __always_inline bool fw_is_icmp_query(const struct evnf_packet *pkt)
{
	/* Echo, router discovery, timestamp, information, address mask. */
	const __u32 queries4 = 1 << 0 | 1 << 8 | 3 << 9 | 3 << 13 | 3 << 15 | 3 << 17;

	if (pkt->ip_version == 4)
		return pkt->icmp_type < 32 && queries4 >> pkt->icmp_type & 1;
	return pkt->icmp_type >= FW_ECHO6 && pkt->icmp_type != FW_ICMP6_REDIRECT;
}

/* RFC 1122, section 3.2.2; RFC 4443, section 2.4 e; RFC 9293 for resets. */
static __always_inline bool fw_may_answer(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	if (pkt->fragment == EVNF_FRAGMENT_LATER || !evnf_is_link_unicast(ctx, pkt))
		return false;
	if (!evnf_is_one_station(&pkt->src, pkt->ip_version) || !evnf_is_one_station(&pkt->dst, pkt->ip_version))
		return false;
	if (fw_has_tcp(pkt))
		return !(pkt->tcp_flags & EVNF_TCP_RST);
	return pkt->protocol != (pkt->ip_version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) || fw_is_icmp_query(pkt);
}

static __always_inline bool fw_admit_answer(const struct evnf_packet *pkt)
{
	__u32 zero = 0;
	struct evnf_bucket *bucket = bpf_map_lookup_elem(&fw_reject_buckets, &zero);

	return bucket && evnf_take_token(bucket, pkt->now, &fw_reject_limit);
}

/* Link header and tags from where the frame began to where it begins now; what comes along is written over. */
static __always_inline bool fw_move_link(evnf_ctx *ctx, __u32 from)
{
	const __u64 *old = evnf_header(ctx, from, FW_LINK_HEADER);
	__u64 *new = evnf_header(ctx, 0, FW_LINK_HEADER);

	if (!old || !new)
		return false;
#pragma unroll
	for (int i = 0; i < FW_LINK_HEADER / 8; i++)
		new[i] = old[i];
	return true;
}

/* As much of the packet as an error may quote; its length in bytes, or 0. */
static __always_inline __u32 fw_take_quote(evnf_ctx *ctx, const struct evnf_packet *pkt, struct fw_quote *quote)
{
	__u32 most = pkt->ip_version == 4 ? FW_QUOTE4 : FW_QUOTE6, length = pkt->l3_length, last;

	if (length > most)
		length = most;
	/* The verifier of 6.1 learns nothing from a test for zero: it is shown that the length is one more than what fits. */
	last = length - 1;
	barrier_var(last);
	if (last >= FW_QUOTE6)
		return 0;
	quote->words[(last + 1) / 4] = 0;
	return evnf_load_bytes(ctx, pkt->l3_offset, quote->words, last + 1) ? 0 : length;
}

static __always_inline __u64 fw_sum(const struct fw_quote *quote, __u32 bytes)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < FW_QUOTE_WORDS && i * 4 < bytes; i++)
		sum += quote->words[i];
	return sum;
}

/* Where a protocol has ports, none of them is reachable; where it has none, the administrator does not want it. */
static __always_inline void fw_write_icmp(struct evnf_icmp_header *icmp, const struct evnf_packet *pkt)
{
	bool has_ports = pkt->protocol == IPPROTO_UDP || pkt->protocol == IPPROTO_SCTP;

	if (pkt->ip_version == 4) {
		icmp->type = FW_UNREACHABLE;
		icmp->code = has_ports ? FW_ICMP4_UNREACHABLE_PORT : FW_ICMP4_UNREACHABLE_PROHIBITED;
	} else {
		icmp->type = FW_ICMP6_UNREACHABLE;
		icmp->code = has_ports ? FW_ICMP6_UNREACHABLE_PORT : FW_ICMP6_UNREACHABLE_PROHIBITED;
	}
	icmp->checksum = 0;
	icmp->rest = 0;
}

/* The UDP checksum as the packet has it, which may be one that hardware is to complete. */
static __always_inline __u16 fw_udp_checksum(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	const struct udphdr *udp = evnf_header(ctx, pkt->l4_offset, sizeof(*udp));

	return udp ? udp->check : 0;
}

/*
 * The error goes before the packet, which stays in its place. So a checksum that
 * hardware is to complete remains the quoted datagram's, and what the sum from
 * its header to the end will be is known: the complement of what stands there.
 */
static __always_inline bool fw_answer_by_error(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	__u32 zero = 0, room = evnf_answer_header(pkt) + FW_ICMP_HEADER, offset = pkt->l3_offset + evnf_answer_header(pkt), length;
	struct fw_quote *quote = bpf_map_lookup_elem(&fw_quotes, &zero);
	__u16 udp_checksum = fw_udp_checksum(ctx, pkt);
	struct evnf_icmp_header *icmp;
	bool pending;
	__u64 sum;

	length = quote ? fw_take_quote(ctx, pkt, quote) : 0;
	if (!length || !evnf_cut(ctx, pkt->l3_offset + length) || !evnf_make_room(ctx, room))
		return false;
	if (!fw_move_link(ctx, room) || !evnf_turn_link(ctx, pkt))
		return false;
	sum = pkt->ip_version == 4 ? 0 : evnf_answer_pseudo_header(pkt, IPPROTO_ICMPV6, FW_ICMP_HEADER + length);
	if (!(pkt->ip_version == 4 ?
		      evnf_write_answer4(ctx, pkt, FW_TOS_INTERNET_CONTROL, IPPROTO_ICMP, FW_ICMP_HEADER + length) :
		      evnf_write_answer6(ctx, pkt, IPPROTO_ICMPV6, FW_ICMP_HEADER + length)))
		return false;
	icmp = evnf_header(ctx, offset, sizeof(*icmp));
	if (!icmp)
		return false;
	fw_write_icmp(icmp, pkt);
	sum += *(__u32 *)icmp;
	pending = evnf_is_checksum_pending(ctx, offset + offsetof(struct evnf_icmp_header, checksum));
	icmp = evnf_header(ctx, offset, sizeof(*icmp));
	if (!icmp || (pending && pkt->protocol != IPPROTO_UDP))
		return false;
	sum += pending ? fw_sum(quote, pkt->l4_offset - pkt->l3_offset) + (__u16)~udp_checksum : fw_sum(quote, length);
	icmp->checksum = ~evnf_fold(sum);
	return true;
}

/* A global function, which the verifier follows once, whatever leads to it, and not at all where nothing is rejected. */
__noinline int fw_reject(evnf_ctx *ctx, __u32 reason)
{
	struct evnf_packet *pkt = evnf_current_packet();

	if (!fw_config.has_rejects || !pkt)
		return evnf_drop(EVNF_REASON_INTERNAL);
	if (!fw_may_answer(ctx, pkt))
		return evnf_drop(reason);
	if (!fw_admit_answer(pkt))
		return evnf_drop(EVNF_REASON_REJECT_LIMIT);
	if (!(fw_has_tcp(pkt) ? evnf_answer_by_reset(ctx, pkt) : fw_answer_by_error(ctx, pkt)))
		return evnf_drop(reason);
	return EVNF_REPLY;
}
