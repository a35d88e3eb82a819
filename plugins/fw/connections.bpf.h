/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Connections: one entry for both directions. A connection is half open, and in
 * a table of its own, until the end that began it has spoken after the other
 * one. So a flood of first packets, and even the answers to it, push out other
 * half-open connections only, the longest unused first; and no entry of
 * fw_connections ever goes but by its timeout.
 *
 * A packet is looked up before the rules are asked, and changes nothing before
 * they have allowed it.
 */
#pragma once

#include <evnf/tcp.bpf.h>

#include <linux/tcp.h>

#include "l4.bpf.h"

/* Sized by the slow path. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct fw_connection_key);
	__type(value, struct fw_connection);
} fw_half_open SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct fw_connection_key);
	__type(value, struct fw_connection);
} fw_connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct fw_connection_counters);
} fw_connection_counters SEC(".maps");

/* Where the packet stands: in per-CPU memory, as the search is. */
struct fw_track {
	struct fw_connection_key key;
	__u32 end;       /* enum fw_end: who sent the packet */
	__u32 half_open; /* the table that the connection was found in */
	__u32 over;      /* an entry of fw_connections has the key, and may be replaced */
	__u32 state;     /* enum fw_state */
};

static __always_inline bool fw_is_lower(const union evnf_address *a, __be16 a_port, const union evnf_address *b,
					__be16 b_port)
{
	if (a->halves[1] != b->halves[1])
		return a->halves[1] < b->halves[1];
	if (a->halves[0] != b->halves[0])
		return a->halves[0] < b->halves[0];
	return a_port < b_port;
}

/* The key of packets from `src` to `dst`; tells which of its ends `src` is. */
static __always_inline enum fw_end fw_set_key(struct fw_connection_key *key, const union evnf_address *src,
					      const union evnf_address *dst, const struct fw_l4 *l4, __u8 protocol)
{
	enum fw_end end = fw_is_lower(src, l4->sport, dst, l4->dport) ? FW_LOW : FW_HIGH;

	key->addresses[FW_LOW] = end == FW_LOW ? *src : *dst;
	key->addresses[FW_HIGH] = end == FW_LOW ? *dst : *src;
	key->ports[FW_LOW] = end == FW_LOW ? l4->sport : l4->dport;
	key->ports[FW_HIGH] = end == FW_LOW ? l4->dport : l4->sport;
	key->protocol = protocol;
	__builtin_memset(key->pad, 0, sizeof(key->pad));
	return end;
}

static __always_inline bool fw_is_alive(const struct fw_connection *connection, __u8 protocol, __u64 now)
{
	__u32 phase = fw_phase_of(protocol, connection);
	__s32 idle = (__u32)now - connection->last_seen;

	return phase < FW_PHASES && idle < (__s32)fw_config.timeouts[phase];
}

static __always_inline bool fw_is_bare_syn(const struct evnf_packet *pkt, const struct fw_l4 *l4)
{
	return pkt->protocol == IPPROTO_TCP && (l4->tcp_flags & (EVNF_TCP_SYN | EVNF_TCP_ACK)) == EVNF_TCP_SYN;
}

/* A combination that some TCP sends. */
static __always_inline bool fw_has_sane_flags(__u8 flags)
{
	if (flags & EVNF_TCP_SYN)
		return !(flags & (EVNF_TCP_FIN | EVNF_TCP_RST)) && (flags & (EVNF_TCP_ACK | EVNF_TCP_URG)) != (EVNF_TCP_ACK | EVNF_TCP_URG);
	if (flags & EVNF_TCP_RST)
		return !(flags & (EVNF_TCP_FIN | EVNF_TCP_URG));
	return flags & EVNF_TCP_ACK;
}

/* No entry, or one that a new connection may replace. */
static __always_inline bool fw_is_over(const struct evnf_packet *pkt, const struct fw_l4 *l4,
				       const struct fw_connection *connection)
{
	enum fw_phase phase = fw_phase_of(pkt->protocol, connection);

	return !fw_is_alive(connection, pkt->protocol, pkt->now) ||
	       (fw_is_bare_syn(pkt, l4) && (phase == FW_PHASE_CLOSED || phase == FW_PHASE_RESET || phase == FW_PHASE_FIN));
}

static __always_inline struct fw_connection *fw_find_connection(struct fw_track *track, const struct evnf_packet *pkt,
								const struct fw_l4 *l4)
{
	struct fw_connection *connection = bpf_map_lookup_elem(&fw_connections, &track->key);

	track->half_open = !connection;
	track->over = connection && fw_is_over(pkt, l4, connection);
	if (!connection || track->over) {
		connection = bpf_map_lookup_elem(&fw_half_open, &track->key);
		track->half_open = 1;
		if (connection && fw_is_over(pkt, l4, connection))
			connection = NULL;
	}
	return connection;
}

/*
 * Whoever forges a RST knows the ports, but not what was last acknowledged. The
 * receiver checks in full (RFC 5961); we have the acknowledgement of the latest
 * jiffy, so the window is wide.
 */
static __always_inline bool fw_is_credible_reset(evnf_ctx *ctx, const struct evnf_packet *pkt,
						 const struct fw_connection *connection, enum fw_end end)
{
	enum fw_end other = end == FW_LOW ? FW_HIGH : FW_LOW;
	const struct tcphdr *tcp;

	if (!(connection->said[other] & FW_SAID_ACK))
		return true;
	tcp = pkt->fragment == EVNF_FRAGMENT_LATER ? NULL : evnf_header(ctx, pkt->l4_offset, sizeof(*tcp));
	return tcp && bpf_ntohl(tcp->seq) - connection->acked[other] + FW_RESET_WINDOW / 2 < FW_RESET_WINDOW;
}

static __always_inline bool fw_is_request(const struct evnf_packet *pkt, const struct fw_l4 *l4)
{
	__u8 request;

	return fw_icmp_kind(pkt->protocol, l4->icmp_type, &request) == FW_ICMP_REQUEST;
}

static __always_inline enum fw_state fw_state_of_first(const struct evnf_packet *pkt, const struct fw_l4 *l4)
{
	if (pkt->protocol == IPPROTO_TCP)
		return fw_is_bare_syn(pkt, l4) || (fw_config.loose && !(l4->tcp_flags & EVNF_TCP_RST)) ? FW_STATE_NEW :
												  FW_STATE_INVALID;
	if (fw_is_icmp(pkt->protocol) && !fw_is_request(pkt, l4))
		return FW_STATE_INVALID;
	return FW_STATE_NEW;
}

static __always_inline enum fw_state fw_state_within(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct fw_l4 *l4,
						     const struct fw_connection *connection, enum fw_end end)
{
	enum fw_end other = end == FW_LOW ? FW_HIGH : FW_LOW;
	bool tcp = pkt->protocol == IPPROTO_TCP;

	/* Each question is one more: a limit on echo requests holds for those of a long ping, too. */
	if (fw_is_icmp(pkt->protocol) && fw_is_request(pkt, l4))
		return FW_STATE_NEW;
	if (tcp && l4->tcp_flags & EVNF_TCP_RST && !fw_is_credible_reset(ctx, pkt, connection, end))
		return FW_STATE_INVALID;
	if (connection->said[other])
		return FW_STATE_ESTABLISHED;
	return tcp && !fw_is_bare_syn(pkt, l4) && !fw_config.loose ? FW_STATE_INVALID : FW_STATE_NEW;
}

#include "related.bpf.h"

/* The parser reads no type of it, and no host knows it. */
static __always_inline bool fw_is_foreign_icmp(const struct evnf_packet *pkt)
{
	return pkt->protocol == (pkt->ip_version == 4 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* Tells the packet's state; its connection, where it is of one that lives. */
static __always_inline struct fw_connection *fw_track_packet(evnf_ctx *ctx, const struct evnf_packet *pkt,
							     const struct fw_l4 *l4, struct fw_track *track)
{
	struct fw_connection *connection;
	__u8 request;

	track->state = FW_STATE_INVALID;
	if (!l4->known || fw_is_foreign_icmp(pkt) || (pkt->protocol == IPPROTO_TCP && !fw_has_sane_flags(l4->tcp_flags)))
		return NULL;
	if (fw_is_icmp(pkt->protocol) && fw_icmp_kind(pkt->protocol, l4->icmp_type, &request) == FW_ICMP_ERROR) {
		if (fw_is_related(ctx, pkt, &track->key))
			track->state = FW_STATE_RELATED;
		return NULL;
	}
	track->end = fw_set_key(&track->key, &pkt->src, &pkt->dst, l4, pkt->protocol);
	connection = fw_find_connection(track, pkt, l4);
	track->state = connection ? fw_state_within(ctx, pkt, l4, connection, track->end) : fw_state_of_first(pkt, l4);
	return connection;
}

static __always_inline bool fw_acknowledges(const struct evnf_packet *pkt, const struct fw_l4 *l4)
{
	return pkt->protocol == IPPROTO_TCP && l4->tcp_flags & EVNF_TCP_ACK && pkt->fragment != EVNF_FRAGMENT_LATER;
}

/* Leaves `ack` alone where the packet acknowledges nothing. */
static __always_inline void fw_read_ack(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct fw_l4 *l4, __u32 *ack)
{
	const struct tcphdr *tcp = fw_acknowledges(pkt, l4) ? evnf_header(ctx, pkt->l4_offset, sizeof(*tcp)) : NULL;

	if (tcp)
		*ack = bpf_ntohl(tcp->ack_seq);
}

static __always_inline __u8 fw_said_after(const struct evnf_packet *pkt, const struct fw_l4 *l4, __u8 said)
{
	said = (said & ~FW_SAID_RST) | FW_SAID;
	if (pkt->protocol != IPPROTO_TCP)
		return said;
	if (fw_acknowledges(pkt, l4))
		said |= FW_SAID_ACK;
	if (l4->tcp_flags & EVNF_TCP_FIN)
		said |= FW_SAID_FIN;
	if (l4->tcp_flags & EVNF_TCP_RST)
		said |= FW_SAID_RST;
	return said;
}

static __always_inline struct fw_connection_counters *fw_connections_counted(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fw_connection_counters, &zero);
}

static __always_inline void fw_open(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct fw_l4 *l4,
				    const struct fw_track *track)
{
	struct fw_connection connection = { .last_seen = pkt->now, .originator = track->end };
	struct fw_connection_counters *counters = fw_connections_counted();
	__u32 ack = 0;

	connection.said[track->end & 1] = fw_said_after(pkt, l4, 0);
	if (fw_config.loose) /* the other end's is not read before it is written */
		fw_read_ack(ctx, pkt, l4, &ack);
	connection.acked[FW_LOW] = connection.acked[FW_HIGH] = ack;
	if (track->over)
		bpf_map_delete_elem(&fw_connections, &track->key);
	if (!bpf_map_update_elem(&fw_half_open, &track->key, &connection, BPF_ANY) && counters)
		counters->opened++;
}

/* Writes only what changed: an entry that is not written stays shared between caches. */
static __always_inline void fw_touch(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct fw_l4 *l4,
				     struct fw_connection *connection, enum fw_end end)
{
	__u8 said = fw_said_after(pkt, l4, connection->said[end & 1]);

	if (connection->said[end & 1] != said)
		connection->said[end & 1] = said;
	else if (connection->last_seen == (__u32)pkt->now)
		return;
	connection->last_seen = pkt->now;
	fw_read_ack(ctx, pkt, l4, &connection->acked[end & 1]);
}

/* Open, once the originator speaks after the other end: it has received what that sent. */
static __always_inline bool fw_is_open(const struct evnf_packet *pkt, const struct fw_l4 *l4, const struct fw_track *track,
				       const struct fw_connection *connection)
{
	if (connection->originator != track->end || !connection->said[track->end == FW_LOW ? FW_HIGH : FW_LOW])
		return false;
	return pkt->protocol != IPPROTO_TCP || (l4->tcp_flags & (EVNF_TCP_SYN | EVNF_TCP_RST | EVNF_TCP_ACK)) == EVNF_TCP_ACK;
}

static __always_inline void fw_move(const struct fw_track *track, const struct fw_connection *connection)
{
	struct fw_connection_counters *counters = fw_connections_counted();
	struct fw_connection moved = *connection;
	int error; /* not long: before Linux 6.4 the upper half of what map helpers return is not the sign's */

	error = bpf_map_update_elem(&fw_connections, &track->key, &moved, BPF_ANY);
	if (!error)
		bpf_map_delete_elem(&fw_half_open, &track->key);
	if (counters && !error)
		counters->moved++;
	else if (counters)
		counters->refused++;
}

/* The packet was allowed: its connection is remembered, and what it said. */
static __always_inline void fw_remember(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct fw_l4 *l4,
					const struct fw_track *track, struct fw_connection *connection)
{
	if (track->state == FW_STATE_INVALID || track->state == FW_STATE_RELATED)
		return;
	if (!connection) {
		fw_open(ctx, pkt, l4, track);
		return;
	}
	fw_touch(ctx, pkt, l4, connection, track->end);
	if (track->half_open && fw_is_open(pkt, l4, track, connection))
		fw_move(track, connection);
}
