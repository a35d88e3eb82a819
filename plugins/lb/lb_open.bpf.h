/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * New connections: a server is chosen and remembered. Also what is no
 * connection's packet after all, and what another balancer's was.
 */
#pragma once

#include "lb_connections.bpf.h"
#include "lb_fragments.bpf.h"
#include "lb_fullnat.bpf.h"
#include "lb_select.bpf.h"

static __always_inline bool lb_backend_is_down(const struct lb_connection *connection)
{
	struct lb_backend *backend = lb_find_backend(connection->backend);

	return backend && backend->down &&
	       lb_same(&backend->address, backend->port, &connection->server, connection->server_port);
}

/* The client is through with the connection that was, or its server is. */
static __always_inline bool lb_begins_anew(const struct evnf_packet *pkt, const struct lb_place *place)
{
	return (lb_is_bare_syn(pkt) && lb_is_over(place->head)) || lb_backend_is_down(&place->set->ways[place->way]);
}

static __always_inline void lb_forget(struct lb_place *place)
{
	for (int i = 0; i < 3; i++) { /* the other direction's packets swap heads, too */
		lb_head before = place->head;

		if (lb_swap_head(place, before & ~LB_USED)) {
			if (place->way < LB_WAYS)
				lb_give_back_port_of(&place->set->ways[place->way], before);
			return;
		}
		if (!lb_is_still(before, place->head))
			return;
	}
}

/* The place for a new connection of these ends, claimed; false where none could be had. */
static __always_inline bool lb_claim_room(const struct evnf_packet *pkt, __u64 mixed, struct lb_place *place,
					  struct lb_tracking *tracked)
{
	lb_head before;

	place->set = lb_set_at(mixed);
	if (!place->set || !lb_find_room(place, lb_home_of(mixed), pkt->now))
		return false;
	before = place->head;
	if (!lb_claim(place) || place->way >= LB_WAYS)
		return false;
	tracked->replaced += lb_is_remembered(before, before & LB_UDP ? IPPROTO_UDP : IPPROTO_TCP, pkt->now);
	lb_give_back_port_of(&place->set->ways[place->way], before);
	return true;
}

/* Writes a connection of these ends, client and VIP, to that server. In dnat one that finds no room is served all the same. */
static __always_inline bool lb_remember(const struct evnf_packet *pkt, const struct lb_ends *ends,
					const struct lb_change *server, lb_head flags)
{
	struct lb_tracking *tracked = lb_tracked();
	struct lb_connection *connection;
	struct lb_place place;
	__u64 mixed;

	if (!tracked || !lb_mix_of(ends, &mixed))
		return false;
	if (!lb_claim_room(pkt, mixed, &place, tracked) || place.way >= LB_WAYS) {
		tracked->unrecorded++;
		return false;
	}
	connection = &place.set->ways[place.way];
	connection->client = *ends->client;
	connection->vip = *ends->peer;
	connection->server = server->address;
	connection->client_port = ends->client_port;
	connection->vip_port = ends->peer_port;
	connection->server_port = server->port;
	connection->backend = server->backend;
	connection->made = pkt->now >> LB_MADE_SHIFT;
	place.set->tags[place.way] = lb_tag_of(mixed);
	lb_publish(&place, flags | lb_seen_at(pkt->now) | (ends->protocol == IPPROTO_UDP ? LB_UDP : 0));
	tracked->opened++;
	return true;
}

/* Fills `server` with the owner of the slot; false where it has none. */
static __always_inline bool lb_choose(const struct lb_service *service, __u32 slot, struct lb_change *server)
{
	__u32 index = lb_owner_of(service, slot);
	struct lb_backend *backend = lb_find_backend(index);

	if (index == LB_NO_BACKEND || !backend)
		return false;
	server->address = backend->address;
	server->port = backend->port;
	server->backend = index;
	return true;
}

/*
 * Has another VIP's connection this client and this server, so that replies could
 * not be told apart? A client may use one port for several VIPs, which may share a
 * server. A connection that is over gives way.
 */
static __always_inline bool lb_is_taken(const struct lb_ends *ends, const struct lb_change *server, __u64 now)
{
	struct lb_ends replies = { ends->client, &server->address, ends->client_port, server->port, ends->protocol };
	struct lb_place place;

	if (!lb_locate(&replies, LB_TO_CLIENT, now, &place))
		return false;
	if (!lb_is_over(place.head))
		return true;
	lb_forget(&place);
	return false;
}

/* Gives the connection to that server, if that can be; LB_PORTS_IN_USE where another one would do. */
static __always_inline enum lb_port lb_give_to(const struct evnf_packet *pkt, const struct lb_ends *ends,
					       const struct lb_change *server)
{
	struct lb_scratch *scratch = lb_scratch();
	enum lb_port port;

	if (!server->fullnat) {
		if (lb_is_taken(ends, server, pkt->now))
			return LB_PORTS_IN_USE;
		lb_remember(pkt, ends, server, 0);
		return LB_PORT_TAKEN;
	}
	port = lb_take_port(pkt, server);
	if (port != LB_PORT_TAKEN || lb_remember(pkt, ends, server, LB_FULLNAT))
		return port;
	if (scratch)
		lb_give_back_port(scratch);
	return LB_PORTS_FULL;
}

/* Chooses the server of a new connection: EVNF_NEXT, or a drop. */
static __always_inline int lb_open(const struct evnf_packet *pkt, const struct lb_service *service, struct lb_change *server)
{
	struct lb_ends ends = lb_ends_of(pkt, LB_TO_SERVER);
	__u32 slot = lb_slot_of(service, &ends);
	enum lb_port port;

	server->fullnat = service->fullnat;
	for (int i = 0; i < LB_PROBES; i++) {
		if (!lb_choose(service, slot, server))
			return evnf_drop(EVNF_REASON_NO_BACKEND);
		/* A reset ends a connection that nobody remembers: no reply will follow. */
		if (lb_is_reset(pkt) && !server->fullnat)
			return EVNF_NEXT;
		port = lb_give_to(pkt, &ends, server);
		if (port == LB_PORT_TAKEN)
			return EVNF_NEXT;
		if (port == LB_PORTS_FULL)
			return evnf_drop(EVNF_REASON_TABLE_FULL);
		slot = slot + 1 < service->slots ? slot + 1 : 0;
	}
	return evnf_drop(EVNF_REASON_TUPLE_TAKEN);
}

#include "lb_adopt.bpf.h"

/* A reply to the pool: fills scratch->after. */
static __always_inline bool lb_is_reply_to_pool(evnf_ctx *ctx, const struct evnf_packet *pkt, struct lb_scratch *scratch)
{
	struct lb_place place;

	lb_read_tuple(pkt, &scratch->before);
	if (!lb_look_up_both(scratch) || !lb_locate_turned(&scratch->after, pkt->now, &place))
		return false;
	scratch->backend = place.set->ways[place.way].backend;
	return lb_hear(ctx, pkt, &place, LB_TO_CLIENT);
}

/* The client's packet of a connection that is over, or whose server is down: nothing of that is left. */
static __always_inline void lb_forget_former(const struct evnf_packet *pkt)
{
	struct lb_ends ends = lb_ends_of(pkt, LB_TO_SERVER);
	struct lb_place place;

	if (lb_locate(&ends, LB_TO_SERVER, pkt->now, &place) && lb_begins_anew(pkt, &place))
		lb_forget(&place);
}

/* A packet of no connection that goes on. */
__noinline int lb_begin(evnf_ctx *ctx)
{
	struct evnf_packet *pkt = evnf_current_packet();
	struct lb_scratch *scratch = lb_scratch();
	struct lb_service *service;
	int decision;

	if (!pkt || !scratch)
		return evnf_drop(EVNF_REASON_INTERNAL);
	if (lb_config.fullnat && lb_is_reply_to_pool(ctx, pkt, scratch))
		return lb_translate_both(ctx, pkt, scratch);
	service = lb_find_service(pkt);
	if (!service)
		return lb_adopt(pkt, &scratch->change) ? lb_translate_first(ctx, pkt, LB_TO_CLIENT, scratch) : lb_leave(pkt, scratch);
	if (service->local)
		return EVNF_LOCAL;
	evnf_note(pkt, (__u64)(service->index + 1) << 32);
	lb_forget_former(pkt);
	decision = lb_open(pkt, service, &scratch->change);
	return decision == EVNF_NEXT ? lb_translate_first(ctx, pkt, LB_TO_SERVER, scratch) : decision;
}
