/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The connection table: where a packet's connection is, and how that is changed.
 *
 * Any CPU may write any way of a set. A writer claims it by a compare-and-swap
 * of its head that sets BUSY and a new version, and gives it back by an exchange.
 * A reader reads the head, then the rest, and then the head again, or swaps it for
 * one that notes its packet: while the version is the same, nobody wrote in between.
 */
#pragma once

#include "evnf/stage.bpf.h"
#include "evnf/ways.bpf.h"

#include "lb_shared.h"

_Static_assert((int)LB_WAYS == EVNF_WAYS, "the ways of a set");

const volatile struct lb_config lb_config = {};

/* Sized by the slow path, which reads it as memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct lb_set);
} lb_connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct lb_hash_key);
} lb_hash_key SEC(".maps");

/* By which a connection is known in one direction: its client, and the other end that the packet shows. */
struct lb_ends {
	const union evnf_address *client, *peer;
	__be16 client_port, peer_port;
	__u8 protocol;
};

/* Where a connection is. */
struct lb_place {
	struct lb_set *set;
	__u32 way;
	lb_head head; /* as it was */
};

static __always_inline struct lb_ends lb_ends_of(const struct evnf_packet *pkt, enum lb_direction direction)
{
	struct lb_ends to_server = { &pkt->src, &pkt->dst, pkt->sport, pkt->dport, pkt->protocol };
	struct lb_ends to_client = { &pkt->dst, &pkt->src, pkt->dport, pkt->sport, pkt->protocol };

	return direction == LB_TO_SERVER ? to_server : to_client;
}

static __always_inline bool lb_same_address(const union evnf_address *a, const union evnf_address *b)
{
	return a->halves[1] == b->halves[1] && a->halves[0] == b->halves[0];
}

static __always_inline bool lb_same(const union evnf_address *a, __be16 a_port, const union evnf_address *b,
				    __be16 b_port)
{
	return a_port == b_port && lb_same_address(a, b);
}

/* Not of a set that may be claimed at any moment unless the head is read again afterwards. */
static __always_inline lb_head lb_read_head(const struct lb_set *set, __u32 way)
{
	return *(const volatile lb_head *)&set->heads[way];
}

/* Is there a connection, kept or young enough? */
static __always_inline bool lb_is_remembered(lb_head head, __u8 protocol, __u64 now)
{
	bool udp = protocol == IPPROTO_UDP;

	if ((head & (LB_USED | LB_BUSY)) != LB_USED || !!(head & LB_UDP) != udp)
		return false;
	return head & LB_KEPT ||
	       lb_idle(head, now) <= (__s32)(udp ? lb_config.opening_jiffies_udp : lb_config.opening_jiffies_tcp);
}

static __always_inline bool lb_is_of(const struct lb_connection *connection, const struct lb_ends *ends,
				     enum lb_direction direction)
{
	if (!lb_same(&connection->client, connection->client_port, ends->client, ends->client_port))
		return false;
	if (direction == LB_TO_SERVER)
		return lb_same(&connection->vip, connection->vip_port, ends->peer, ends->peer_port);
	return lb_same(&connection->server, connection->server_port, ends->peer, ends->peer_port);
}

/* The hash of the client's port; false where a map is gone. */
static __always_inline bool lb_mix_of(const struct lb_ends *ends, __u64 *mixed)
{
	__u32 zero = 0;
	const struct lb_hash_key *key = bpf_map_lookup_elem(&lb_hash_key, &zero);

	if (!key)
		return false;
	*mixed = lb_mix(ends->client, ends->client_port, ends->protocol, key);
	return true;
}

static __always_inline struct lb_set *lb_set_at(__u64 mixed)
{
	__u32 index = lb_set_of(mixed, lb_config.sets);

	return bpf_map_lookup_elem(&lb_connections, &index);
}

/*
 * The way that a connection is given where that is free. It is looked at first:
 * what it holds is then fetched together with the set's first line.
 */
static __always_inline __u32 lb_home_of(__u64 mixed)
{
	return (mixed >> 8 & 0xff) * LB_WAYS >> 8;
}

/* Whether place->way has the connection; not in fullnat by its server, who does not know the client. */
static __always_inline bool lb_is_at(struct lb_place *place, const struct lb_ends *ends, enum lb_direction direction, __u64 now)
{
	place->head = lb_read_head(place->set, place->way);
	return lb_is_of(&place->set->ways[place->way], ends, direction) && lb_is_remembered(place->head, ends->protocol, now) &&
	       !(direction == LB_TO_CLIENT && place->head & LB_FULLNAT);
}

/* Finds the connection; false where there is none. */
static __always_inline bool lb_locate(const struct lb_ends *ends, enum lb_direction direction, __u64 now,
				      struct lb_place *place)
{
	__u64 mixed, ways;

	if (!lb_mix_of(ends, &mixed))
		return false;
	place->set = lb_set_at(mixed);
	if (!place->set)
		return false;
	place->way = lb_home_of(mixed);
	if (place->set->tags[place->way] == lb_tag_of(mixed) && lb_is_at(place, ends, direction, now))
		return true;
	ways = evnf_ways_with(*(const volatile __u64 *)place->set->tags, lb_tag_of(mixed));
#pragma clang loop unroll(disable)
	for (int i = 0; i < LB_WAYS; i++) {
		place->way = evnf_first_way(ways);
		if (place->way >= LB_WAYS)
			return false;
		if (lb_is_at(place, ends, direction, now))
			return true;
		ways &= ways - 1;
	}
	return false;
}

/* Nobody took the place in the meantime. */
static __always_inline bool lb_is_still(lb_head before, lb_head now)
{
	return !((before ^ now) & (LB_VERSIONS | LB_USED | LB_BUSY));
}

/* Swaps the head for `after`. False where it has changed: then place->head is what it is now. */
static __always_inline bool lb_swap_head(struct lb_place *place, lb_head after)
{
	lb_head seen;

	if (place->way >= LB_WAYS)
		return false;
	seen = __sync_val_compare_and_swap(&place->set->heads[place->way], place->head, after);
	if (seen != place->head) {
		place->head = seen;
		return false;
	}
	place->head = after;
	return true;
}

/* Free, or a connection that is not kept. */
static __always_inline bool lb_may_go(lb_head head)
{
	return !(head & LB_BUSY) && (head & (LB_USED | LB_KEPT)) != (LB_USED | LB_KEPT);
}

/* Claims the place; false where somebody else was faster. */
static __always_inline bool lb_claim(struct lb_place *place)
{
	return lb_may_go(place->head) && lb_swap_head(place, ((place->head + LB_VERSION) & LB_VERSIONS) | LB_BUSY);
}

/* Gives back what was claimed, with a connection in it. */
static __always_inline void lb_publish(struct lb_place *place, lb_head flags)
{
	if (place->way < LB_WAYS)
		__sync_lock_test_and_set(&place->set->heads[place->way], (place->head & LB_VERSIONS) | LB_USED | flags);
}

static __always_inline __u32 lb_count_kept(const struct lb_set *set)
{
	const lb_head kept = LB_USED | LB_KEPT;
	__u32 count = 0;

	for (__u32 way = 0; way < LB_WAYS; way++)
		count += (lb_read_head(set, way) & kept) == kept;
	return count;
}
