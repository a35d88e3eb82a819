/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* A TCP segment becomes the reset that answers it, in the name of its destination. */
#pragma once

#include <stddef.h>

#include <linux/in.h>
#include <linux/tcp.h>

#include "answer.bpf.h"
#include "tcp.bpf.h"

/* What the reset says, from the segment that it answers: RFC 9293, section 3.10.7.1. */
struct evnf_reset {
	__be32 seq;
	__be32 ack;
	__u8 flags;
};

static __always_inline bool evnf_read_segment(evnf_ctx *ctx, const struct evnf_packet *pkt, struct evnf_reset *reset)
{
	const struct tcphdr *tcp = evnf_header(ctx, pkt->l4_offset, sizeof(*tcp));
	__u32 length = pkt->l3_offset + pkt->l3_length - pkt->payload_offset;

	if (!tcp)
		return false;
	if (pkt->tcp_flags & EVNF_TCP_ACK) {
		*reset = (struct evnf_reset){ .seq = tcp->ack_seq, .flags = EVNF_TCP_RST };
		return true;
	}
	length += !!(pkt->tcp_flags & EVNF_TCP_SYN) + !!(pkt->tcp_flags & EVNF_TCP_FIN);
	*reset = (struct evnf_reset){ .ack = bpf_htonl(bpf_ntohl(tcp->seq) + length), .flags = EVNF_TCP_RST | EVNF_TCP_ACK };
	return true;
}

static __always_inline struct tcphdr *evnf_write_reset(evnf_ctx *ctx, const struct evnf_packet *pkt, __u32 offset,
						       const struct evnf_reset *reset)
{
	struct tcphdr *tcp = evnf_header(ctx, offset, sizeof(*tcp));

	if (!tcp)
		return NULL;
	tcp->source = pkt->dport;
	tcp->dest = pkt->sport;
	tcp->seq = reset->seq;
	tcp->ack_seq = reset->ack;
	((__be16 *)tcp)[6] = bpf_htons(5 << 12 | reset->flags);
	tcp->window = 0;
	tcp->check = 0;
	tcp->urg_ptr = 0;
	return tcp;
}

/* The frame, for EVNF_REPLY. False where it cannot be answered. */
static __always_inline bool evnf_answer_by_reset(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	__u32 offset = pkt->l3_offset + evnf_answer_header(pkt), length = sizeof(struct tcphdr);
	__u64 pseudo_header = evnf_answer_pseudo_header(pkt, IPPROTO_TCP, length), sum = pseudo_header;
	struct evnf_reset reset;
	struct tcphdr *tcp;
	bool pending;

	if (!evnf_read_segment(ctx, pkt, &reset) || !evnf_cut(ctx, offset + length) || !evnf_turn_link(ctx, pkt))
		return false;
	if (!(pkt->ip_version == 4 ? evnf_write_answer4(ctx, pkt, 0, IPPROTO_TCP, length) :
				     evnf_write_answer6(ctx, pkt, IPPROTO_TCP, length)))
		return false;
	tcp = evnf_write_reset(ctx, pkt, offset, &reset);
	if (!tcp)
		return false;
#pragma unroll
	for (int i = 0; i < 5; i++)
		sum += ((__u32 *)tcp)[i];
	pending = evnf_is_checksum_pending(ctx, offset + offsetof(struct tcphdr, check));
	tcp = evnf_header(ctx, offset, sizeof(*tcp));
	/* It will be completed where the segment had it: options before that have moved it. */
	if (!tcp || (pending && offset != pkt->l4_offset))
		return false;
	tcp->check = pending ? evnf_fold(pseudo_header) : ~evnf_fold(sum);
	return true;
}
