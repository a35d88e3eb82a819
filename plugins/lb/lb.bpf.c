// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * lb: packets to a virtual service go to one of its backends, and the replies
 * of tracked connections come back under the service's address.
 */
#include "evnf/rewrite.bpf.h"

#include "lb_connections.bpf.h"
#include "lb_select.bpf.h"

EVNF_LICENSE;

/* The VIPs by protocol, with port 0, for fragments that have no ports. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LB_MAX_SERVICES);
	__type(key, struct lb_service_key);
	__type(value, __u32);
} lb_vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LB_MAX_BACKENDS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct lb_counters);
} lb_counters SEC(".maps");

static __always_inline void lb_count(struct evnf_packet *pkt, __u32 backend)
{
	struct lb_counters *counters = bpf_map_lookup_elem(&lb_counters, &backend);

	if (counters) {
		counters->packets++;
		counters->bytes += pkt->frame_length;
	}
	evnf_note(pkt, backend + 1);
}

/* A later fragment has no ports, so its connection is unknown: better lost by name than sent astray. */
static __always_inline int lb_later_fragment(const struct evnf_packet *pkt)
{
	struct lb_service_key key = { .vip = pkt->dst, .protocol = pkt->protocol };

	return bpf_map_lookup_elem(&lb_vips, &key) ? evnf_drop(EVNF_REASON_FRAGMENT) : EVNF_NEXT;
}

static __always_inline int lb_to_client(evnf_ctx *ctx, struct evnf_packet *pkt, struct lb_connection *entry)
{
	lb_count(pkt, entry->backend);
	/* The fragments behind this one would keep the server's address and never meet it again. */
	if (pkt->fragment != EVNF_FRAGMENT_NONE)
		return evnf_drop(EVNF_REASON_FRAGMENT);
	lb_touch(pkt, entry);
	return evnf_rewrite_source(ctx, pkt, &entry->address, entry->port);
}

static __always_inline bool lb_backend_is_down(const struct lb_connection *entry)
{
	struct lb_backend *backend = lb_find_backend(entry->backend);

	return backend && backend->down &&
	       lb_same(&backend->address, backend->port, &entry->address, entry->port);
}

/* Fills `entry` for the owner of the slot; false where it has none. */
static __always_inline bool lb_choose(const struct lb_service *service, __u32 slot, struct lb_connection *entry)
{
	__u32 index = lb_owner_of(service, slot);
	struct lb_backend *backend = lb_find_backend(index);

	if (index == LB_NO_BACKEND || !backend)
		return false;
	entry->address = backend->address;
	entry->port = backend->port;
	entry->backend = index;
	return true;
}

/* A connection's first packet: chooses its server and remembers that. */
static __always_inline int lb_open(struct evnf_packet *pkt, const struct lb_service *service,
				   const struct lb_tuple *tuple, struct lb_connection *entry)
{
	__u32 slot = lb_slot_of(service, tuple);
	enum lb_insertion inserted = LB_TAKEN;

	evnf_note(pkt, (__u64)(service->index + 1) << 32);
	entry->direction = LB_TO_SERVER;
	entry->flags = lb_flags_after(pkt, 0);
	entry->made = pkt->now >> LB_MADE_SHIFT;
	entry->last_seen = pkt->now;
	for (int i = 0; i < LB_PROBES && inserted == LB_TAKEN; i++) {
		if (!lb_choose(service, slot, entry))
			return evnf_drop(EVNF_REASON_NO_BACKEND);
		/* A reset ends a connection that nobody remembers: no reply will follow. */
		if (entry->flags & LB_RST)
			return EVNF_NEXT;
		inserted = lb_insert(tuple, entry);
		slot = slot + 1 < service->slots ? slot + 1 : 0;
	}
	if (inserted == LB_INSERTED)
		return EVNF_NEXT;
	return evnf_drop(inserted == LB_TAKEN ? EVNF_REASON_TUPLE_TAKEN : EVNF_REASON_TABLE_FULL);
}

EVNF_STAGE(lb, ctx, pkt)
{
	struct lb_connection *entry, fresh = {};
	struct lb_service *service;
	struct lb_tuple tuple;
	int decision;

	if (pkt->protocol != IPPROTO_TCP && pkt->protocol != IPPROTO_UDP)
		return EVNF_NEXT;
	if (pkt->fragment == EVNF_FRAGMENT_LATER)
		return lb_later_fragment(pkt);
	tuple = lb_tuple_of(pkt);
	entry = bpf_map_lookup_elem(&lb_connections, &tuple);
	if (entry && entry->direction == LB_TO_CLIENT)
		return lb_to_client(ctx, pkt, entry);
	if (entry && (lb_backend_is_down(entry) || lb_begins_anew(pkt, &tuple, entry))) {
		fresh = *entry;
		lb_forget(&tuple, &fresh);
		entry = NULL;
	}
	if (entry) {
		lb_touch(pkt, entry);
	} else {
		service = lb_find_service(pkt);
		if (!service)
			return EVNF_NEXT;
		if (service->local)
			return EVNF_LOCAL;
		decision = lb_open(pkt, service, &tuple, &fresh);
		if (decision != EVNF_NEXT)
			return decision;
		entry = &fresh;
	}
	lb_count(pkt, entry->backend);
	return evnf_rewrite_destination(ctx, pkt, &entry->address, entry->port);
}
