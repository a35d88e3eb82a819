/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The flow table: where a packet's flow is. A writer claims a place by a
 * compare-and-swap of its head that sets BUSY and a new version, and gives it
 * back by an exchange.
 */
#pragma once

#include "evnf/parser.bpf.h"
#include "evnf/ways.bpf.h"

#include "dpi_maps.bpf.h"

_Static_assert((int)DPI_WAYS == EVNF_WAYS, "the ways of a set");

/* Where a flow is. */
struct dpi_place {
	struct dpi_set *set;
	__u32 way;
	dpi_head head; /* as it was */
};

static __always_inline bool dpi_is_from_endpoint_0(const struct evnf_packet *pkt)
{
	if (pkt->src.halves[0] != pkt->dst.halves[0])
		return pkt->src.halves[0] < pkt->dst.halves[0];
	if (pkt->src.halves[1] != pkt->dst.halves[1])
		return pkt->src.halves[1] < pkt->dst.halves[1];
	return pkt->sport <= pkt->dport;
}

/* Writes the key of the packet's flow; the direction of the packet in it. */
static __always_inline __u32 dpi_make_key(const struct evnf_packet *pkt, struct dpi_key *key)
{
	__u32 direction = !dpi_is_from_endpoint_0(pkt);

	key->address[0] = direction ? pkt->dst : pkt->src;
	key->address[1] = direction ? pkt->src : pkt->dst;
	key->port[0] = direction ? pkt->dport : pkt->sport;
	key->port[1] = direction ? pkt->sport : pkt->dport;
	key->vlan[0] = pkt->vlan[0];
	key->vlan[1] = pkt->vlan[1];
	key->protocol = pkt->protocol;
	return direction;
}

/* The hash of the key; false where a map is gone. */
static __always_inline bool dpi_mix_of(const struct dpi_key *key, __u64 *mixed)
{
	__u32 zero = 0;
	const struct dpi_hash_key *secret = bpf_map_lookup_elem(&dpi_hash_key, &zero);

	if (!secret)
		return false;
	*mixed = dpi_mix(key, secret);
	return true;
}

static __always_inline struct dpi_set *dpi_set_at(__u32 index)
{
	return bpf_map_lookup_elem(&dpi_table, &index);
}

/* NULL where that is no way. */
static __always_inline struct dpi_flow *dpi_flow_at(const struct dpi_place *place)
{
	__u32 way = place->way;

	barrier_var(way); /* the compiler knows the bound and would leave the test out, the verifier does not */
	return way < DPI_WAYS ? &place->set->ways[way] : NULL;
}

/* Not of a set that may be claimed at any moment unless the head is read again afterwards. */
static __always_inline dpi_head dpi_read_head(const struct dpi_set *set, __u32 way)
{
	return *(const volatile dpi_head *)&set->heads[way];
}

static __always_inline bool dpi_same_key(const struct dpi_key *a, const struct dpi_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[1] == y[1] && x[3] == y[3] && x[4] == y[4] && x[0] == y[0] && x[2] == y[2] && a->protocol == b->protocol;
}

/* Nobody took the place in the meantime. */
static __always_inline bool dpi_is_still(dpi_head before, dpi_head now)
{
	return !((before ^ now) & (DPI_VERSIONS | DPI_USED | DPI_BUSY | DPI_ENDED));
}

/* Whether the flow of this key lives at place->way. */
static __always_inline bool dpi_is_at(struct dpi_place *place, const struct dpi_key *key)
{
	place->head = dpi_read_head(place->set, place->way);
	return (place->head & (DPI_USED | DPI_BUSY | DPI_ENDED)) == DPI_USED &&
	       dpi_same_key(&place->set->ways[place->way].key, key) &&
	       dpi_is_still(place->head, dpi_read_head(place->set, place->way));
}

/* Finds the flow in place->set; false where it is not there. */
static __always_inline bool dpi_find_in_set(const struct dpi_key *key, __u64 mixed, struct dpi_place *place)
{
	__u64 ways;

	place->way = dpi_home_of(mixed);
	if (place->set->tags[place->way] == dpi_tag_of(mixed) && dpi_is_at(place, key))
		return true;
	ways = evnf_ways_with(*(const volatile __u64 *)place->set->tags, dpi_tag_of(mixed));
#pragma clang loop unroll(disable)
	for (int i = 0; i < DPI_WAYS; i++) {
		place->way = evnf_first_way(ways);
		if (place->way >= DPI_WAYS)
			return false;
		if (dpi_is_at(place, key))
			return true;
		ways &= ways - 1;
	}
	return false;
}

/* Swaps the head for `after`. False where it has changed: then place->head is what it is now. */
static __always_inline bool dpi_swap_head(struct dpi_place *place, dpi_head after)
{
	dpi_head seen;

	if (place->way >= DPI_WAYS)
		return false;
	seen = __sync_val_compare_and_swap(&place->set->heads[place->way], place->head, after);
	if (seen != place->head) {
		place->head = seen;
		return false;
	}
	place->head = after;
	return true;
}
