/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The connection table: one hash for both directions. Elements are allocated as
 * connections come, not for max_connections beforehand: room for a million takes
 * a quarter of a gigabyte, whether they come or not.
 */
#pragma once

#include "evnf/stage.bpf.h"
#include "lb_shared.h"

#define EEXIST 17

/* Bits of evnf_packet.tcp_flags. */
enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10 };

/* Two entries for each of max_connections: sized by the slow path. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct lb_tuple);
	__type(value, struct lb_connection);
} lb_connections SEC(".maps");

enum lb_insertion { LB_INSERTED, LB_TABLE_FULL, LB_TAKEN };

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
	struct lb_tuple reply = { .src = to_server->address, .dst = tuple->src, .sport = to_server->port,
				  .dport = tuple->sport, .protocol = tuple->protocol };

	return reply;
}

static __always_inline bool lb_same(const union evnf_address *a, __be16 a_port, const union evnf_address *b,
				    __be16 b_port)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1] && a_port == b_port;
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

/* What the packet adds to what its direction has said. */
static __always_inline __u8 lb_flags_after(const struct evnf_packet *pkt, __u8 flags)
{
	flags &= ~LB_RST;
	if (!lb_is_bare_syn(pkt))
		flags |= LB_OPEN;
	if (pkt->protocol == IPPROTO_TCP && pkt->tcp_flags & TCP_FIN)
		flags |= LB_FIN;
	if (pkt->protocol == IPPROTO_TCP && pkt->tcp_flags & TCP_RST)
		flags |= LB_RST;
	return flags;
}

/* Writes only what changed: an entry that is not written stays shared between caches. */
static __always_inline void lb_touch(const struct evnf_packet *pkt, struct lb_connection *entry)
{
	__u8 flags = lb_flags_after(pkt, entry->flags);

	if (entry->flags != flags)
		entry->flags = flags;
	if (entry->last_seen != (__u32)pkt->now)
		entry->last_seen = pkt->now;
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

	bpf_map_delete_elem(&lb_connections, tuple);
	if (lb_other_half(&reply, &tuple->dst, tuple->dport))
		bpf_map_delete_elem(&lb_connections, &reply);
}

/*
 * May `tuple`'s connection have the reply tuple that an entry has already? Yes
 * if that entry is its own, is left over, or belongs to a connection that is
 * over, which is then forgotten. Else the client talks from the same port to
 * another VIP that uses the same server, and replies could not be told apart.
 */
static __always_inline bool lb_take_over(const struct lb_tuple *reply, const struct lb_tuple *tuple)
{
	struct lb_connection *to_client = bpf_map_lookup_elem(&lb_connections, reply), *to_server;
	struct lb_tuple other = *tuple;

	if (!to_client || lb_same(&to_client->address, to_client->port, &tuple->dst, tuple->dport))
		return true;
	other.dst = to_client->address;
	other.dport = to_client->port;
	to_server = lb_other_half(&other, &reply->src, reply->sport);
	if (!to_server)
		return true;
	if (!lb_is_over(lb_state_of(tuple->protocol, to_server->flags, to_client->flags)))
		return false;
	bpf_map_delete_elem(&lb_connections, &other);
	return true;
}

/* Makes both entries of a new connection. */
static __always_inline enum lb_insertion lb_insert(const struct lb_tuple *tuple,
						   const struct lb_connection *to_server)
{
	struct lb_tuple reply = lb_reply_tuple(tuple, to_server);
	struct lb_connection to_client = *to_server;
	int error; /* not long: before Linux 6.4 the upper half of what map helpers return is not the sign's */

	to_client.address = tuple->dst;
	to_client.port = tuple->dport;
	to_client.direction = LB_TO_CLIENT;
	to_client.flags = 0;
	error = bpf_map_update_elem(&lb_connections, &reply, &to_client, BPF_NOEXIST);
	if (error == -EEXIST) {
		if (!lb_take_over(&reply, tuple))
			return LB_TAKEN;
		error = bpf_map_update_elem(&lb_connections, &reply, &to_client, BPF_ANY);
	}
	if (error)
		return LB_TABLE_FULL;
	if (!bpf_map_update_elem(&lb_connections, tuple, to_server, BPF_ANY))
		return LB_INSERTED;
	bpf_map_delete_elem(&lb_connections, &reply);
	return LB_TABLE_FULL;
}
