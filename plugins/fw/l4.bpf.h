/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The L4 header that rules and connections go by. Later fragments have none.
 * Where connections are tracked, theirs is that of their first fragment, if that
 * came before them; else each packet is judged alone.
 */
#pragma once

#include <evnf/fragment.bpf.h>

#include "fw_shared.h"

const volatile struct fw_config fw_config = {};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FW_FRAGMENTS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct evnf_fragment_key);
	__type(value, struct fw_fragment);
} fw_fragments SEC(".maps");

/* Type, code and checksum, and what follows them in queries. */
struct fw_icmp {
	__u8 type, code;
	__be16 checksum;
	__be16 id;
	__be16 sequence;
};

/* Types of ICMP (RFC 792, 950) and ICMPv6 (RFC 4443); linux/icmp.h draws in headers of user space. */
enum {
	FW_ECHO_REPLY = 0,
	FW_UNREACHABLE = 3,
	FW_SOURCE_QUENCH = 4,
	FW_REDIRECT = 5,
	FW_ECHO = 8,
	FW_TIME_EXCEEDED = 11,
	FW_PARAMETER_PROBLEM = 12,
	FW_TIMESTAMP = 13,
	FW_TIMESTAMP_REPLY = 14,
	FW_ADDRESS_MASK = 17,
	FW_ADDRESS_MASK_REPLY = 18,
	FW_ECHO6 = 128, /* what is below is an error */
	FW_ECHO6_REPLY = 129,
};

enum fw_icmp_kind { FW_ICMP_OTHER, FW_ICMP_REQUEST, FW_ICMP_REPLY, FW_ICMP_ERROR };

static __always_inline bool fw_is_icmp(__u8 protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

/* `request` gets the type that such a query begins with. */
static __always_inline enum fw_icmp_kind fw_icmp_kind(__u8 protocol, __u8 type, __u8 *request)
{
	*request = type;
	if (protocol == IPPROTO_ICMPV6) {
		if (type == FW_ECHO6_REPLY)
			*request = FW_ECHO6;
		return type == FW_ECHO6	      ? FW_ICMP_REQUEST :
		       type == FW_ECHO6_REPLY ? FW_ICMP_REPLY :
		       type < FW_ECHO6	      ? FW_ICMP_ERROR :
						FW_ICMP_OTHER;
	}
	switch (type) {
	case FW_ECHO:
	case FW_TIMESTAMP:
	case FW_ADDRESS_MASK:
		return FW_ICMP_REQUEST;
	case FW_ECHO_REPLY:
		*request = FW_ECHO;
		return FW_ICMP_REPLY;
	case FW_TIMESTAMP_REPLY:
	case FW_ADDRESS_MASK_REPLY:
		*request = type - 1;
		return FW_ICMP_REPLY;
	case FW_UNREACHABLE:
	case FW_SOURCE_QUENCH:
	case FW_REDIRECT:
	case FW_TIME_EXCEEDED:
	case FW_PARAMETER_PROBLEM:
		return FW_ICMP_ERROR;
	}
	return FW_ICMP_OTHER;
}

/* Ports for a query: two queries of one identifier in opposite directions are not one connection. */
static __always_inline void fw_name_query(struct fw_l4 *l4, __u8 protocol, const struct fw_icmp *icmp)
{
	__u8 request;
	enum fw_icmp_kind kind = fw_icmp_kind(protocol, icmp->type, &request);

	if (kind == FW_ICMP_REQUEST) {
		l4->sport = icmp->id;
		l4->dport = bpf_htons(request);
	} else if (kind == FW_ICMP_REPLY) {
		l4->sport = bpf_htons(request);
		l4->dport = icmp->id;
	}
}

static __always_inline void fw_remember_first(const struct evnf_packet *pkt, const struct fw_l4 *l4)
{
	struct evnf_fragment_key key = {};
	struct fw_fragment fragment = { .l4 = *l4, .seen = pkt->now };

	evnf_key_of_fragment(pkt, &key);
	bpf_map_update_elem(&fw_fragments, &key, &fragment, BPF_ANY);
}

static __always_inline void fw_recall_first(const struct evnf_packet *pkt, struct fw_l4 *l4)
{
	struct evnf_fragment_key key = {};
	struct fw_fragment *fragment;

	evnf_key_of_fragment(pkt, &key);
	fragment = bpf_map_lookup_elem(&fw_fragments, &key);
	if (fragment && pkt->now - fragment->seen < FW_FRAGMENT_JIFFIES)
		*l4 = fragment->l4;
}

static __always_inline void fw_read_l4(evnf_ctx *ctx, const struct evnf_packet *pkt, struct fw_l4 *l4)
{
	const struct fw_icmp *icmp;

	l4->sport = pkt->sport;
	l4->dport = pkt->dport;
	l4->tcp_flags = pkt->tcp_flags;
	l4->icmp_type = pkt->icmp_type;
	l4->icmp_code = pkt->icmp_code;
	l4->known = pkt->fragment != EVNF_FRAGMENT_LATER;
	if (!fw_config.asks_state)
		return;
	if (l4->known && fw_is_icmp(pkt->protocol)) {
		icmp = evnf_header(ctx, pkt->l4_offset, sizeof(*icmp));
		if (icmp)
			fw_name_query(l4, pkt->protocol, icmp);
	}
	if (pkt->fragment == EVNF_FRAGMENT_FIRST)
		fw_remember_first(pkt, l4);
	else if (pkt->fragment == EVNF_FRAGMENT_LATER)
		fw_recall_first(pkt, l4);
}
