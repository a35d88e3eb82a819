// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * lb: packets to a virtual service go to one of its backends, and the replies
 * of tracked connections come back under the service's address.
 */
#include "evnf/rewrite.bpf.h"

#include "lb_adopt.bpf.h"
#include "lb_fullnat.bpf.h"
#include "lb_icmp.bpf.h"

EVNF_LICENSE;

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

/* A new connection: chooses its server and remembers that. */
static __always_inline int lb_begin(const struct evnf_packet *pkt, const struct lb_service *service,
				    const struct lb_tuple *tuple, struct lb_connection *to_server)
{
	struct lb_opening_set *set = lb_openings_of(&tuple->src, tuple->sport, tuple->protocol);
	__u32 slot = lb_slot_of(service, tuple);

	if (!set)
		return evnf_drop(EVNF_REASON_INTERNAL);
	for (int i = 0; i < LB_PROBES; i++) {
		if (!lb_choose(service, slot, to_server))
			return evnf_drop(EVNF_REASON_NO_BACKEND);
		/* A reset ends a connection that nobody remembers: no reply will follow. */
		if (pkt->protocol == IPPROTO_TCP && pkt->tcp_flags & TCP_RST)
			return EVNF_NEXT;
		if (!lb_is_being_opened(set, tuple, to_server, pkt->now) && !lb_is_taken(tuple, to_server)) {
			lb_write_opening(lb_place_for(set, tuple), pkt, tuple, to_server);
			return EVNF_NEXT;
		}
		slot = slot + 1 < service->slots ? slot + 1 : 0;
	}
	return evnf_drop(EVNF_REASON_TUPLE_TAKEN);
}

/* As above, in fullnat: its port must be its own from the first packet on, so it is no opening. */
static __always_inline int lb_begin_fullnat(const struct evnf_packet *pkt, const struct lb_service *service,
					    const struct lb_tuple *tuple, struct lb_connection *to_server)
{
	__u32 slot = lb_slot_of(service, tuple);
	enum lb_insertion inserted = LB_TAKEN;

	to_server->flags = lb_flags_after(pkt, LB_FULLNAT);
	to_server->made = pkt->now >> LB_MADE_SHIFT;
	to_server->last_seen = pkt->now;
	for (int i = 0; i < LB_PROBES && inserted == LB_TAKEN; i++) {
		if (!lb_choose(service, slot, to_server))
			return evnf_drop(EVNF_REASON_NO_BACKEND);
		inserted = lb_insert_fullnat(tuple, to_server);
		slot = slot + 1 < service->slots ? slot + 1 : 0;
	}
	if (inserted == LB_INSERTED)
		return EVNF_NEXT;
	return evnf_drop(inserted == LB_TAKEN ? EVNF_REASON_TUPLE_TAKEN : EVNF_REASON_TABLE_FULL);
}

/* A packet to a service, of no connection in the table: fills `to_server`. */
static __always_inline int lb_open(evnf_ctx *ctx, struct evnf_packet *pkt, const struct lb_service *service,
				   const struct lb_tuple *tuple, struct lb_connection *to_server)
{
	struct lb_opening *opening;
	__u64 head = 0;

	evnf_note(pkt, (__u64)(service->index + 1) << 32);
	to_server->direction = LB_TO_SERVER;
	if (service->fullnat)
		return lb_begin_fullnat(pkt, service, tuple, to_server);
	opening = lb_find_opening(pkt, tuple, to_server, &head);
	/* What was moved and is not there any more is over: a SYN begins anew. */
	if (!opening || lb_backend_is_down(to_server) || (head & LB_OPENING_MOVED && lb_is_bare_syn(pkt)))
		return lb_begin(pkt, service, tuple, to_server);
	if (lb_proves_both(pkt, head))
		lb_move(ctx, pkt, tuple, opening, head, to_server);
	return EVNF_NEXT;
}

/* The table's entry for the tuple, or NULL where a connection begins, or begins anew. */
static __always_inline struct lb_connection *lb_find(const struct evnf_packet *pkt, const struct lb_tuple *tuple)
{
	struct lb_connection *entry = bpf_map_lookup_elem(&lb_connections, tuple), old;

	if (!entry || entry->direction == LB_TO_CLIENT ||
	    !(lb_backend_is_down(entry) || lb_begins_anew(pkt, tuple, entry)))
		return entry;
	old = *entry;
	lb_forget(tuple, &old);
	return NULL;
}

/* What a connection does to its packet: one end, of a packet that nothing follows. */
static __always_inline int lb_translate(evnf_ctx *ctx, struct evnf_packet *pkt, __u32 backend, __u32 direction,
					const union evnf_address *address, __be16 port)
{
	lb_count(pkt, backend);
	if (direction == LB_TO_SERVER)
		return evnf_rewrite_destination(ctx, pkt, address, port);
	return evnf_rewrite_source(ctx, pkt, address, port);
}

static __always_inline int lb_translate_by(evnf_ctx *ctx, struct evnf_packet *pkt, const struct lb_connection *entry)
{
	if (!pkt->fragment && !(entry->flags & LB_FULLNAT))
		return lb_translate(ctx, pkt, entry->backend, entry->direction, &entry->address, entry->port);
	lb_count(pkt, entry->backend);
	return lb_translate_rare(ctx);
}

static __always_inline bool lb_is_down(__u32 index)
{
	struct lb_backend *backend = lb_find_backend(index);

	return backend && backend->down;
}

EVNF_STAGE(lb, ctx, pkt)
{
	__u32 place = lb_place_of(&pkt->src, &pkt->dst, pkt->sport, pkt->dport);
	struct lb_connection *entry, fresh = {};
	struct lb_service *service;
	struct lb_tuple tuple;
	struct lb_copy *copy;
	__u16 version;
	__u64 head;
	int decision;

	if (pkt->fragment == EVNF_FRAGMENT_LATER)
		return lb_follow_first(ctx);
	if (pkt->protocol != IPPROTO_TCP && pkt->protocol != IPPROTO_UDP)
		return lb_other_protocol(ctx);
	copy = lb_recall(pkt, place);
	if (copy && (copy->direction == LB_TO_CLIENT || !lb_is_down(copy->backend)))
		return lb_translate(ctx, pkt, copy->backend, copy->direction, &copy->address, copy->port);
	version = lb_version_at(place);
	tuple = lb_tuple_of(pkt);
	entry = lb_find(pkt, &tuple);
	if (entry) {
		lb_touch(ctx, pkt, &tuple, entry);
		if (!(entry->flags & LB_FULLNAT))
			lb_keep_copy(pkt, place, version, entry);
		return lb_translate_by(ctx, pkt, entry);
	}
	service = lb_find_service(pkt);
	if (service) {
		if (service->local)
			return EVNF_LOCAL;
		decision = lb_open(ctx, pkt, service, &tuple, &fresh);
		if (decision != EVNF_NEXT)
			return decision;
	} else {
		fresh.direction = LB_TO_CLIENT;
		if (!lb_find_opening(pkt, &tuple, &fresh, &head) &&
		    !(lb_adopt(pkt, &tuple) && lb_find_opening(pkt, &tuple, &fresh, &head)))
			return pkt->fragment ? lb_leave_first() : EVNF_NEXT;
	}
	return lb_translate_by(ctx, pkt, &fresh);
}
