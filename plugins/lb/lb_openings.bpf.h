/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Openings: connections are remembered here until both sides have spoken, and
 * for as long as lb_connections may not or cannot take them. The table is an
 * array whose size never changes; a new opening replaces the older one of two,
 * so that a flood of first packets costs other openings only, and a store each.
 *
 * Any CPU may write any place. A writer claims it by a compare-and-swap that
 * sets BUSY and a new version, and gives it back by an exchange. A reader reads
 * the head, the rest, and then swaps the head it read for one with a new
 * last_seen: if that succeeds, nobody wrote in between.
 */
#pragma once

#include "lb_cache.bpf.h"
#include "lb_select.bpf.h"
#include "lb_translation.bpf.h"

/* Mappable, and so aligned to pages: a set is two cache lines that are fetched together. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << LB_OPENING_BITS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct lb_opening_set);
} lb_openings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct lb_tracking);
} lb_tracking SEC(".maps");

static __always_inline struct lb_tracking *lb_tracked(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lb_tracking, &zero);
}

/* By a secret hash, or who knows the client could push it out. */
static __always_inline struct lb_opening_set *lb_openings_of(const union evnf_address *client, __be16 port, __u8 protocol)
{
	__u32 zero = 0, index;
	struct lb_hash_key *key = bpf_map_lookup_elem(&lb_hash_key, &zero);
	__u64 mixed;

	if (!key)
		return NULL;
	mixed = client->halves[0] * (key->halves[0] | 1) + client->halves[1];
	mixed = (mixed ^ mixed >> 29) * (key->halves[1] | 1) + ((__u32)protocol << 16 | port);
	index = (mixed ^ mixed >> 32) * 0x9e3779b97f4a7c15ull >> (64 - LB_OPENING_BITS);
	return bpf_map_lookup_elem(&lb_openings, &index);
}

static __always_inline bool lb_is_fresh(__u64 head, __u8 protocol, __u32 now)
{
	bool udp = protocol == IPPROTO_UDP;
	__s32 idle = now - (__u32)head;

	return (head & (LB_OPENING_USED | LB_OPENING_BUSY)) == LB_OPENING_USED && !!(head & LB_OPENING_UDP) == udp &&
	       idle < (__s32)(udp ? lb_config.opening_jiffies_udp : lb_config.opening_jiffies_tcp);
}

/* Does the tuple, of this direction, belong to the opening? */
static __always_inline bool lb_is_of(const struct lb_opening *opening, const struct lb_tuple *tuple,
				     enum lb_direction direction)
{
	if (direction == LB_TO_SERVER)
		return lb_same(&opening->client, opening->client_port, &tuple->src, tuple->sport) &&
		       lb_same(&opening->vip, opening->vip_port, &tuple->dst, tuple->dport);
	return lb_same(&opening->client, opening->client_port, &tuple->dst, tuple->dport) &&
	       lb_same(&opening->server, opening->server_port, &tuple->src, tuple->sport);
}

static __always_inline __u64 lb_head_now(__u64 head, __u32 now)
{
	return head >> 32 << 32 | now;
}

/*
 * Reads the opening into `entry` and notes what the packet says: that the server
 * has spoken, or a reset, with which it is over. False if it is not the tuple's;
 * else `head` is what the head was.
 */
static __always_inline bool lb_read_opening(struct lb_opening *opening, const struct evnf_packet *pkt,
					    const struct lb_tuple *tuple, struct lb_connection *entry, __u64 *head)
{
	bool to_client = entry->direction == LB_TO_CLIENT;
	__u64 after;

	for (int i = 0; i < 3; i++) { /* the other direction's packets swap heads, too */
		*head = __sync_fetch_and_or(&opening->head, 0);
		if (!lb_is_fresh(*head, tuple->protocol, pkt->now) || !lb_is_of(opening, tuple, entry->direction))
			return false;
		entry->address = to_client ? opening->vip : opening->server;
		entry->port = to_client ? opening->vip_port : opening->server_port;
		entry->backend = opening->backend;
		after = *head & LB_OPENING_MOVED ? *head : lb_head_now(*head, pkt->now);
		if (to_client)
			after |= LB_OPENING_ANSWERED;
		if (tuple->protocol == IPPROTO_TCP && pkt->tcp_flags & TCP_RST)
			after &= ~LB_OPENING_USED;
		if (__sync_val_compare_and_swap(&opening->head, *head, after) == *head)
			return true;
	}
	return false;
}

/* Finds the packet's opening by its tuple and entry->direction, and fills `entry`. NULL where there is none. */
static __always_inline struct lb_opening *lb_find_opening(const struct evnf_packet *pkt,
							  const struct lb_tuple *tuple,
							  struct lb_connection *entry, __u64 *head)
{
	bool to_client = entry->direction == LB_TO_CLIENT;
	struct lb_opening_set *set = lb_openings_of(to_client ? &tuple->dst : &tuple->src,
						    to_client ? tuple->dport : tuple->sport, tuple->protocol);

	if (!set)
		return NULL;
	for (int way = 0; way < 2; way++) {
		struct lb_opening *opening = &set->ways[way];

		/* A glance first: what is not the tuple's is not worth an atomic operation. */
		if (lb_is_of(opening, tuple, entry->direction) && lb_read_opening(opening, pkt, tuple, entry, head))
			return opening;
	}
	return NULL;
}

/* Has another VIP's opening the same client and server, so that replies could not be told apart? */
static __always_inline bool lb_is_being_opened(const struct lb_opening_set *set, const struct lb_tuple *tuple,
					       const struct lb_connection *to_server, __u32 now)
{
	for (int way = 0; way < 2; way++) {
		const struct lb_opening *opening = &set->ways[way];

		if (lb_same(&opening->client, opening->client_port, &tuple->src, tuple->sport) &&
		    lb_same(&opening->server, opening->server_port, &to_server->address, to_server->port) &&
		    !lb_same(&opening->vip, opening->vip_port, &tuple->dst, tuple->dport) &&
		    lb_is_fresh(opening->head, tuple->protocol, now) && !(opening->head & LB_OPENING_MOVED))
			return true;
	}
	return false;
}

/* The place for a new opening of the tuple: its old one's, a free one, or that of the older one. */
static __always_inline struct lb_opening *lb_place_for(struct lb_opening_set *set, const struct lb_tuple *tuple)
{
	struct lb_opening *first = &set->ways[0], *second = &set->ways[1];

	if (lb_is_of(first, tuple, LB_TO_SERVER))
		return first;
	if (lb_is_of(second, tuple, LB_TO_SERVER))
		return second;
	if (!(first->head & LB_OPENING_USED) || first->head & LB_OPENING_MOVED)
		return first;
	if (!(second->head & LB_OPENING_USED) || second->head & LB_OPENING_MOVED)
		return second;
	return (__s32)((__u32)first->head - (__u32)second->head) <= 0 ? first : second;
}

static __always_inline void lb_write_opening(struct lb_opening *opening, const struct evnf_packet *pkt,
					     const struct lb_tuple *tuple, const struct lb_connection *to_server)
{
	struct lb_tracking *tracked = lb_tracked();
	__u64 old = *(volatile __u64 *)&opening->head;
	__u64 claimed = (old + LB_OPENING_VERSION) % LB_OPENING_USED;

	if (old & LB_OPENING_BUSY || __sync_val_compare_and_swap(&opening->head, old, claimed | LB_OPENING_BUSY) != old) {
		if (tracked)
			tracked->unrecorded++;
		return;
	}
	opening->client = tuple->src;
	opening->vip = tuple->dst;
	opening->server = to_server->address;
	opening->client_port = tuple->sport;
	opening->vip_port = tuple->dport;
	opening->server_port = to_server->port;
	opening->backend = to_server->backend;
	claimed |= LB_OPENING_USED | (tuple->protocol == IPPROTO_UDP ? LB_OPENING_UDP : 0);
	__sync_lock_test_and_set(&opening->head, lb_head_now(claimed, pkt->now));
	if (tracked)
		tracked->opened++;
}

/* The opening that had this head is in lb_connections now. If another has its place by now, that is left alone. */
static __always_inline void lb_mark_moved(struct lb_opening *opening, __u64 head)
{
	const __u64 version = LB_OPENING_USED - LB_OPENING_VERSION;
	__u64 seen;

	for (int i = 0; i < 3; i++) { /* the other direction's packets swap heads, too */
		seen = __sync_fetch_and_or(&opening->head, 0);
		if ((seen ^ head) & version ||
		    __sync_val_compare_and_swap(&opening->head, seen, seen | LB_OPENING_MOVED) == seen)
			return;
	}
}

/* Fills `found` from the opening that has the tuple in this direction, as lb_find_opening() does, but leaves it as it is. */
static __always_inline bool lb_peek_opening(const struct lb_tuple *tuple, enum lb_direction direction, __u32 now,
					    struct lb_connection *found)
{
	bool to_client = direction == LB_TO_CLIENT;
	struct lb_opening_set *set = lb_openings_of(to_client ? &tuple->dst : &tuple->src,
						    to_client ? tuple->dport : tuple->sport, tuple->protocol);

	for (int way = 0; set && way < 2; way++) {
		struct lb_opening *opening = &set->ways[way];
		__u64 head = *(volatile __u64 *)&opening->head;

		if (!lb_is_fresh(head, tuple->protocol, now) || !lb_is_of(opening, tuple, direction))
			continue;
		found->address = to_client ? opening->vip : opening->server;
		found->port = to_client ? opening->vip_port : opening->server_port;
		found->backend = opening->backend;
		found->direction = direction;
		found->flags = 0;
		return !((*(volatile __u64 *)&opening->head ^ head) & (LB_OPENING_USED - LB_OPENING_VERSION));
	}
	return false;
}
