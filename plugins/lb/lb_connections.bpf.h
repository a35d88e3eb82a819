/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The connection table: one hash for both directions, for connections in which
 * both sides have spoken (lb_openings.bpf.h has the others). Elements are allocated as
 * connections come, not for max_connections beforehand: room for a million takes
 * a quarter of a gigabyte, whether they come or not.
 */
#pragma once

#include <linux/tcp.h>

#include "lb_openings.bpf.h"
#include "lb_translation.bpf.h"

/* Two entries for each of max_connections: sized by the slow path. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct lb_tuple);
	__type(value, struct lb_connection);
} lb_connections SEC(".maps");

static __always_inline struct lb_tuple lb_tuple_of(const struct evnf_packet *pkt)
{
	struct lb_tuple tuple = { .src = pkt->src, .dst = pkt->dst, .sport = pkt->sport,
				  .dport = pkt->dport, .protocol = pkt->protocol };

	return tuple;
}

/* The tuple of the server's packets to the client. */
static __always_inline struct lb_tuple lb_reply_tuple(const struct lb_tuple *tuple,
						      const struct lb_connection *to_server)
{
	struct lb_tuple after;

	lb_translate_tuple(tuple, to_server, &after);
	return lb_turned(&after);
}

/* The entry that goes with that. */
static __always_inline void lb_fill_reply_entry(const struct lb_tuple *tuple, const struct lb_connection *to_server,
						struct lb_connection *to_client)
{
	*to_client = *to_server;
	to_client->address = tuple->dst;
	to_client->port = tuple->dport;
	to_client->direction = LB_TO_CLIENT;
	to_client->flags &= LB_FULLNAT;
}

static __always_inline void lb_erase(const struct lb_tuple *tuple, const struct lb_connection *entry)
{
	bpf_map_delete_elem(&lb_connections, tuple);
	if (entry->flags & LB_FULLNAT)
		bpf_map_delete_elem(&lb_fullnat, tuple);
}

/*
 * The entry of the other direction, whose packets have the tuple `other`, if it
 * is this connection's: its packets are given `address` and `port`.
 */
static __always_inline struct lb_connection *lb_other_half(const struct lb_tuple *other,
							   const union evnf_address *address, __be16 port)
{
	struct lb_connection *entry = bpf_map_lookup_elem(&lb_connections, other);

	return entry && lb_same(&entry->address, entry->port, address, port) ? entry : NULL;
}

static __always_inline bool lb_is_bare_syn(const struct evnf_packet *pkt)
{
	return pkt->protocol == IPPROTO_TCP && (pkt->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* The tuple of the packets that travel against `tuple`, whose entry this is. */
static __always_inline struct lb_tuple lb_against(const struct lb_tuple *tuple, const struct lb_connection *entry)
{
	struct lb_tuple after;

	lb_translate_tuple(tuple, entry, &after);
	return lb_turned(&after);
}

static __always_inline const struct tcphdr *lb_tcp(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	return evnf_header(ctx, pkt->l4_offset, sizeof(struct tcphdr));
}

/*
 * Whoever forges a RST knows the ports, but not what the other side last
 * acknowledged. The receiver checks in full (RFC 5961); what we know is up to
 * copy_jiffies old, so the window is wide.
 */
static __always_inline bool lb_is_credible_reset(evnf_ctx *ctx, const struct evnf_packet *pkt,
						 const struct lb_tuple *tuple, const struct lb_connection *entry)
{
	struct lb_tuple against = lb_against(tuple, entry);
	struct lb_connection *other = lb_other_half(&against, entry->direction == LB_TO_SERVER ? &tuple->dst : &tuple->src,
						    entry->direction == LB_TO_SERVER ? tuple->dport : tuple->sport);
	const struct tcphdr *tcp = lb_tcp(ctx, pkt);

	if (!other || !(other->flags & LB_ACKED))
		return true;
	return tcp && (__u16)((bpf_ntohl(tcp->seq) >> 16) - other->acked + LB_RESET_WINDOW / 2) < LB_RESET_WINDOW;
}

/* What the packet adds to what its direction has said. */
static __always_inline __u8 lb_flags_after(const struct evnf_packet *pkt, __u8 flags)
{
	flags &= ~LB_RST;
	if (!lb_is_bare_syn(pkt))
		flags |= LB_OPEN;
	if (pkt->protocol != IPPROTO_TCP)
		return flags;
	if (pkt->tcp_flags & TCP_FIN)
		flags |= LB_FIN;
	if (pkt->tcp_flags & TCP_RST)
		flags |= LB_RST;
	if (pkt->tcp_flags & TCP_ACK)
		flags |= LB_ACKED;
	return flags;
}

/* Leaves `acked` alone where the packet acknowledges nothing. */
static __always_inline void lb_read_ack(evnf_ctx *ctx, const struct evnf_packet *pkt, __u16 *acked)
{
	const struct tcphdr *tcp;

	if (pkt->protocol != IPPROTO_TCP || !(pkt->tcp_flags & TCP_ACK))
		return;
	tcp = lb_tcp(ctx, pkt);
	if (tcp)
		*acked = bpf_ntohl(tcp->ack_seq) >> 16;
}

/* Writes only what changed: an entry that is not written stays shared between caches. */
static __always_inline void lb_touch(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct lb_tuple *tuple,
				     struct lb_connection *entry)
{
	__u8 flags;

	if (pkt->protocol == IPPROTO_TCP && pkt->tcp_flags & TCP_RST && !lb_is_credible_reset(ctx, pkt, tuple, entry))
		return;
	flags = lb_flags_after(pkt, entry->flags);
	if (entry->flags != flags)
		entry->flags = flags;
	else if (entry->last_seen == (__u32)pkt->now)
		return;
	entry->last_seen = pkt->now;
	lb_read_ack(ctx, pkt, &entry->acked);
}

static __always_inline bool lb_is_over(enum lb_state state)
{
	return state == LB_STATE_FIN || state == LB_STATE_CLOSED;
}

/* A new connection on the tuple of an old one: the client is through with that. */
static __always_inline bool lb_begins_anew(const struct evnf_packet *pkt, const struct lb_tuple *tuple,
					   const struct lb_connection *to_server)
{
	struct lb_connection *to_client;
	struct lb_tuple reply;

	if (!lb_is_bare_syn(pkt))
		return false;
	reply = lb_reply_tuple(tuple, to_server);
	to_client = lb_other_half(&reply, &tuple->dst, tuple->dport);
	return !to_client || lb_is_over(lb_state_of(tuple->protocol, to_server->flags, to_client->flags));
}

/*
 * The entry to the server is made last and deleted first: as long as packets
 * are translated, so are the replies.
 */
static __always_inline void lb_forget(const struct lb_tuple *tuple, const struct lb_connection *to_server)
{
	struct lb_tuple reply = lb_reply_tuple(tuple, to_server);

	lb_erase(tuple, to_server);
	if (lb_other_half(&reply, &tuple->dst, tuple->dport))
		lb_erase(&reply, to_server);
	lb_revoke_copies(tuple);
	lb_revoke_copies(&reply);
}

/*
 * Does another VIP's connection have the reply tuple of `tuple`'s, so that
 * replies could not be told apart? A client may use one port for several VIPs,
 * which may share a server. A connection that is over gives way.
 */
static __always_inline bool lb_is_taken(const struct lb_tuple *tuple, const struct lb_connection *to_server)
{
	struct lb_tuple reply = lb_reply_tuple(tuple, to_server), other = *tuple;
	struct lb_connection *to_client = bpf_map_lookup_elem(&lb_connections, &reply), *others;

	if (!to_client || lb_same(&to_client->address, to_client->port, &tuple->dst, tuple->dport))
		return false;
	if (to_client->flags & LB_FULLNAT)
		return true;
	other.dst = to_client->address;
	other.dport = to_client->port;
	others = lb_other_half(&other, &reply.src, reply.sport);
	if (others && !lb_is_over(lb_state_of(tuple->protocol, others->flags, to_client->flags)))
		return true;
	if (others)
		bpf_map_delete_elem(&lb_connections, &other);
	bpf_map_delete_elem(&lb_connections, &reply);
	lb_revoke_copies(&other);
	lb_revoke_copies(&reply);
	return false;
}

/* Makes both entries of a connection in which both sides have spoken; false where there is no room. */
static __always_inline bool lb_insert(const struct lb_tuple *tuple, const struct lb_connection *to_server)
{
	struct lb_tuple reply = lb_reply_tuple(tuple, to_server);
	struct lb_connection to_client;

	lb_fill_reply_entry(tuple, to_server, &to_client);
	to_client.flags |= LB_OPEN;
	if (bpf_map_update_elem(&lb_connections, &reply, &to_client, BPF_ANY))
		return false;
	if (!bpf_map_update_elem(&lb_connections, tuple, to_server, BPF_ANY))
		return true;
	bpf_map_delete_elem(&lb_connections, &reply);
	return false;
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct evnf_bucket);
} lb_new_flows SEC(".maps");

static __always_inline bool lb_may_insert(const struct evnf_packet *pkt)
{
	__u32 zero = 0;
	struct evnf_bucket *bucket;

	if (!lb_config.new_flows.per_second)
		return true;
	bucket = bpf_map_lookup_elem(&lb_new_flows, &zero);
	return bucket && evnf_take_token(bucket, pkt->now, &lb_config.new_flows);
}

/* The client speaks after the server: it has received what that sent, and is nobody's invention. */
static __always_inline bool lb_proves_both(const struct evnf_packet *pkt, __u64 head)
{
	return (head & (LB_OPENING_ANSWERED | LB_OPENING_MOVED)) == LB_OPENING_ANSWERED &&
	       (pkt->protocol != IPPROTO_TCP || (pkt->tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK);
}

/*
 * Moves an opening to lb_connections; `head` and `to_server` are what it says. The opening
 * stays where it is until its place is wanted: a packet on another CPU that
 * missed the table a moment ago finds it there.
 */
static __always_inline void lb_move(evnf_ctx *ctx, const struct evnf_packet *pkt, const struct lb_tuple *tuple,
				    struct lb_opening *opening, __u64 head, struct lb_connection *to_server)
{
	struct lb_tracking *tracked = lb_tracked();

	if (!tracked)
		return;
	if (!lb_may_insert(pkt)) {
		tracked->over_limit++;
		return;
	}
	to_server->flags = lb_flags_after(pkt, LB_OPEN);
	to_server->made = pkt->now >> LB_MADE_SHIFT;
	to_server->last_seen = pkt->now;
	lb_read_ack(ctx, pkt, &to_server->acked);
	if (!lb_insert(tuple, to_server)) {
		tracked->table_full++;
		return;
	}
	lb_mark_moved(opening, head);
	tracked->moved++;
}

/* What is known of the tuple's connection, without a trace of having asked; false where it has none. */
static __always_inline bool lb_peek(const struct lb_tuple *tuple, __u32 now, struct lb_connection *found)
{
	const struct lb_connection *entry = bpf_map_lookup_elem(&lb_connections, tuple);

	if (entry)
		*found = *entry;
	return entry || lb_peek_opening(tuple, LB_TO_SERVER, now, found) ||
	       lb_peek_opening(tuple, LB_TO_CLIENT, now, found);
}
