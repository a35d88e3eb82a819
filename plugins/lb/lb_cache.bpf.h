/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Copies of entries of lb_connections, per CPU and direct-mapped: an array
 * access where the table costs a call. Only a packet that changes nothing in the
 * connection (no SYN, FIN or RST) is served by a copy, and only for copy_jiffies,
 * a fraction of the shortest timeout; then the table is asked again and sees
 * that the connection lives.
 *
 * Whoever takes an entry from under a tuple, or gives it another, changes the
 * tuple's version afterwards; whoever makes a copy reads the version before the
 * table. So a copy of what was replaced has an old version. A version comes
 * round after 65536 such changes, more than there can be within copy_jiffies.
 * What has expired needs none: its copies are older than copy_jiffies.
 */
#pragma once

#include "evnf/stage.bpf.h"
#include "lb_shared.h"

/* Bits of evnf_packet.tcp_flags. */
enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_ACK = 0x10 };

const volatile struct lb_config lb_config = {};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << LB_CACHE_BITS);
	__type(key, __u32);
	__type(value, struct lb_copy);
} lb_cache SEC(".maps");

/* By place in the cache, for all CPUs. State: two generations run side by side for a moment. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << LB_CACHE_BITS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} lb_versions SEC(".maps");

static __always_inline __u32 lb_place_of(const union evnf_address *src, const union evnf_address *dst,
					 __be16 sport, __be16 dport)
{
	__u64 mixed = src->halves[0] ^ src->halves[1] ^ (dst->halves[0] << 7 | dst->halves[0] >> 57) ^
		      (dst->halves[1] << 13 | dst->halves[1] >> 51) ^ (__u64)sport << 24 ^ (__u64)dport << 8;

	return mixed * 0x9e3779b97f4a7c15ull >> (64 - LB_CACHE_BITS);
}

static __always_inline __u16 lb_version_at(__u32 place)
{
	volatile __u32 *version = bpf_map_lookup_elem(&lb_versions, &place);

	return version ? *version : 0;
}

static __always_inline void lb_revoke_at(__u32 place)
{
	__u32 *version = bpf_map_lookup_elem(&lb_versions, &place);

	if (version)
		__sync_fetch_and_add(version, 1);
}

/* Copies of the tuple's entry, which has just been replaced or deleted, are good for nothing any more. */
static __always_inline void lb_revoke_copies(const struct lb_tuple *tuple)
{
	lb_revoke_at(lb_place_of(&tuple->src, &tuple->dst, tuple->sport, tuple->dport));
}

/* A packet that tells nothing about its connection but that it lives. */
static __always_inline bool lb_is_plain(const struct evnf_packet *pkt)
{
	return pkt->fragment == EVNF_FRAGMENT_NONE &&
	       (pkt->protocol != IPPROTO_TCP || !(pkt->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)));
}

/* The copy for the packet, or NULL. */
static __always_inline struct lb_copy *lb_recall(const struct evnf_packet *pkt, __u32 place)
{
	struct lb_copy *copy = bpf_map_lookup_elem(&lb_cache, &place);

	if (!copy || copy->src.halves[1] != pkt->src.halves[1] || copy->dst.halves[1] != pkt->dst.halves[1] ||
	    copy->sport != pkt->sport || copy->dport != pkt->dport || copy->src.halves[0] != pkt->src.halves[0] ||
	    copy->dst.halves[0] != pkt->dst.halves[0] || copy->protocol != pkt->protocol ||
	    (__u32)pkt->now - copy->made >= lb_config.copy_jiffies || copy->version != lb_version_at(place) ||
	    !lb_is_plain(pkt))
		return NULL;
	return copy;
}

/*
 * `version` was read before `entry` was found. A packet that does tell something
 * lets the next one ask the table, too: traffic that goes on contradicts a reset.
 */
static __always_inline void lb_keep_copy(const struct evnf_packet *pkt, __u32 place, __u16 version,
					 const struct lb_connection *entry)
{
	struct lb_copy *copy = bpf_map_lookup_elem(&lb_cache, &place);

	if (!lb_is_plain(pkt)) {
		lb_revoke_at(place);
		return;
	}
	if (!copy)
		return;
	copy->src = pkt->src;
	copy->dst = pkt->dst;
	copy->address = entry->address;
	copy->sport = pkt->sport;
	copy->dport = pkt->dport;
	copy->port = entry->port;
	copy->backend = entry->backend;
	copy->made = pkt->now;
	copy->version = version;
	copy->protocol = pkt->protocol;
	copy->direction = entry->direction;
}
