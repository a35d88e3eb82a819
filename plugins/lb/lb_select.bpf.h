/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Selection: service and client -> slot -> backend. A client's slot is a keyed
 * hash, so that nobody outside can aim at one server; who owns a slot is the
 * slow path's table, swapped as a whole.
 */
#pragma once

#include "lb_siphash.h"
#include "lb_table.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LB_MAX_SERVICES);
	__type(key, struct lb_service_key);
	__type(value, struct lb_service);
} lb_services SEC(".maps");

/* Sized by the slow path. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_page);
} lb_slots SEC(".maps");

/* First pages of the live tables, by service index. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LB_MAX_SERVICES);
	__type(key, __u32);
	__type(value, __u32);
} lb_tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LB_MAX_BACKENDS);
	__type(key, __u32);
	__type(value, struct lb_backend);
} lb_backends SEC(".maps");

/* From here on what the slow path remembers. The table as it is live, to move as few slots as can be: */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LB_MAX_SERVICES * LB_MAX_SLOTS / LB_PAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct lb_saved_key);
	__type(value, struct lb_page);
} lb_saved SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LB_MAX_BACKENDS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct lb_steered);
} lb_steered SEC(".maps");

/* Names of the backend indices, "service/backend": evnf/slots.hpp. */
struct lb_name {
	char text[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LB_MAX_BACKENDS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct lb_name);
} lb_names SEC(".maps");

/* Of client and VIP; with affinity, without the client's port. */
static __always_inline __u64 lb_hash(const struct lb_ends *ends, const struct lb_hash_key *key, bool by_source)
{
	__be16 client_port = by_source ? 0 : ends->client_port;
	__u64 words[6] = {
		ends->client->halves[0], ends->client->halves[1], ends->peer->halves[0], ends->peer->halves[1],
		(__u64)ends->protocol << 32 | (__u32)client_port << 16 | ends->peer_port,
		40ull << 56, /* SipHash ends with the length of its input */
	};

	return lb_siphash(key, words, 6);
}

static __always_inline struct lb_service *lb_find_service(const struct evnf_packet *pkt)
{
	struct lb_service_key key = { .vip = pkt->dst, .port = pkt->dport, .protocol = pkt->protocol };

	return bpf_map_lookup_elem(&lb_services, &key);
}

/* The client's slot. On a stack of its own: the hash takes much of one. */
static __noinline __u32 lb_slot_of(const struct lb_service *service, const struct lb_ends *ends)
{
	return (lb_hash(ends, &service->hash_key, service->by_source) >> 32) * service->slots >> 32;
}

/* Index of the slot's backend, or LB_NO_BACKEND. */
static __always_inline __u32 lb_owner_of(const struct lb_service *service, __u32 slot)
{
	__u32 index = service->index, *first_page = bpf_map_lookup_elem(&lb_tables, &index);
	struct lb_page *page;

	if (!first_page)
		return LB_NO_BACKEND;
	index = *first_page + slot / LB_PAGE;
	page = bpf_map_lookup_elem(&lb_slots, &index);
	return page ? page->backend[slot % LB_PAGE] : LB_NO_BACKEND;
}

static __always_inline struct lb_backend *lb_find_backend(__u32 index)
{
	return bpf_map_lookup_elem(&lb_backends, &index);
}
