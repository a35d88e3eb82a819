/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * New connections: a server is chosen and remembered. Also what is no
 * connection's packet after all, and what another balancer's was.
 */
#pragma once

#include "evnf/reset.bpf.h"

#include "lb_connections.bpf.h"
#include "lb_fragments.bpf.h"
#include "lb_fullnat.bpf.h"
#include "lb_select.bpf.h"

static __always_inline enum lb_down lb_down_of(const struct lb_connection *connection)
{
	struct lb_backend *backend = lb_find_backend(connection->backend);

	if (!backend || !backend->down ||
	    !lb_same(&backend->address, backend->port, &connection->server, connection->server_port))
		return LB_UP;
	return backend->down;
}

/* The client is through with the connection that was, or its server is. */
static __always_inline bool lb_begins_anew(const struct evnf_packet *pkt, const struct lb_place *place)
{
	return (lb_is_bare_syn(pkt) && lb_is_over(place->head)) || lb_down_of(&place->set->ways[place->way]);
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

/*
 * A way for a new connection in the set: its home or another free one, else that
 * which was quiet for longest of those that are not kept. LB_WAYS where there is
 * none, which is only for a moment: one is left when the others are kept.
 */
__noinline int lb_find_room(__u32 set_index, __u32 home)
{
	const struct lb_set *set = bpf_map_lookup_elem(&lb_connections, &set_index);
	const struct evnf_packet *pkt = evnf_current_packet();
	struct lb_scratch *scratch = lb_scratch();

	if (!set || !pkt || !scratch)
		return LB_WAYS;
	scratch->best = 0;
	for (__u32 i = 0; i < LB_WAYS; i++) {
		lb_head head = lb_read_head(set, evnf_way_from(home, i));
		__u32 quiet = head & LB_USED ? lb_idle(head, pkt->now) + (1u << 31) : 0xffffffff;
		__u64 worth = lb_may_go(head) ? (__u64)quiet << 3 | (LB_WAYS - i) : 0;

		if (worth > scratch->best)
			scratch->best = worth;
	}
	return scratch->best ? evnf_way_from(home, LB_WAYS - (scratch->best & 7)) : LB_WAYS;
}

/* The place for a new connection of these ends, claimed; false where none could be had. */
static __always_inline bool lb_claim_room(const struct evnf_packet *pkt, __u64 mixed, struct lb_place *place,
					  struct lb_tracking *tracked)
{
	lb_head before;

	place->set = lb_set_at(mixed);
	place->way = lb_find_room(lb_set_of(mixed, lb_config.sets), lb_home_of(mixed));
	barrier_var(place->way); /* or the compiler, which knows what that returns, shortens the test, and the verifier objects */
	if (!place->set || place->way >= LB_WAYS)
		return false;
	before = place->head = lb_read_head(place->set, place->way);
	if (!lb_claim(place))
		return false;
	tracked->replaced += lb_is_remembered(before, before & LB_UDP ? IPPROTO_UDP : IPPROTO_TCP, pkt->now);
	lb_give_back_port_of(&place->set->ways[place->way], before);
	return true;
}

/* Writes a connection of these ends, client and VIP, to that server; false where it found no room. */
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
 * Has another VIP's connection this client and the server in scratch->change, so that
 * replies could not be told apart? A client may use one port for several VIPs, which
 * may share a server. A connection that is over gives way. This and its like are
 * functions of their own since the verifier would follow what comes after them anew
 * for each of their ends.
 */
__noinline int lb_is_taken(void)
{
	const struct evnf_packet *pkt = evnf_current_packet();
	struct lb_scratch *scratch = lb_scratch();
	struct lb_place place;
	struct lb_ends replies;

	if (!pkt || !scratch)
		return true;
	replies = lb_ends_of(pkt, LB_TO_SERVER);
	replies.peer = &scratch->change.address;
	replies.peer_port = scratch->change.port;
	if (!lb_locate(&replies, LB_TO_CLIENT, pkt->now, &place))
		return false;
	if (!lb_is_over(place.head))
		return true;
	lb_forget(&place);
	return false;
}

/* Remembers the packet's connection to the server in scratch->change, in fullnat with the port that was taken: enum lb_port. */
__noinline int lb_give(void)
{
	const struct evnf_packet *pkt = evnf_current_packet();
	struct lb_scratch *scratch = lb_scratch();
	struct lb_ends ends;

	if (!pkt || !scratch)
		return LB_PORTS_FULL;
	ends = lb_ends_of(pkt, LB_TO_SERVER);
	/* In dnat, what finds no room is served all the same. */
	if (lb_remember(pkt, &ends, &scratch->change, scratch->change.fullnat ? LB_FULLNAT : 0) || !scratch->change.fullnat)
		return LB_PORT_TAKEN;
	lb_give_back_port(scratch);
	return LB_PORTS_FULL;
}

/* Chooses the server of a new connection: EVNF_NEXT, or a drop. */
static __always_inline int lb_open(const struct evnf_packet *pkt, const struct lb_service *service, struct lb_scratch *scratch)
{
	struct lb_ends ends = lb_ends_of(pkt, LB_TO_SERVER);
	__u32 slot = lb_slot_of(service, &ends);

	scratch->change.fullnat = service->fullnat;
	for (int i = 0; i < LB_PROBES; i++) {
		int port;

		if (!lb_choose(service, slot, &scratch->change))
			return evnf_drop(EVNF_REASON_NO_BACKEND);
		/* A reset ends a connection that nobody remembers: no reply will follow. */
		if (lb_is_reset(pkt) && !scratch->change.fullnat)
			return EVNF_NEXT;
		if (scratch->change.fullnat)
			port = lb_take_port();
		else
			port = lb_is_taken() ? LB_PORTS_IN_USE : LB_PORT_TAKEN;
		if (port == LB_PORT_TAKEN)
			port = lb_give();
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

/* Who would go on with a connection that stands, and has lost its server, is told so. */
static __always_inline bool lb_is_to_be_reset(const struct evnf_packet *pkt, const struct lb_place *place)
{
	return pkt->protocol == IPPROTO_TCP && !(pkt->tcp_flags & (EVNF_TCP_SYN | EVNF_TCP_RST)) && !pkt->fragment &&
	       place->head & LB_KEPT && !lb_is_over(place->head) &&
	       lb_down_of(&place->set->ways[place->way]) == LB_DOWN_RESET;
}

/*
 * The client's packet of a connection that is over, or whose server is down: nothing
 * of that is left. True where the client is to be told.
 */
__noinline int lb_forget_former(void)
{
	const struct evnf_packet *pkt = evnf_current_packet();
	struct lb_place place;
	struct lb_ends ends;
	bool reset;

	if (!pkt)
		return false;
	ends = lb_ends_of(pkt, LB_TO_SERVER);
	if (!lb_locate(&ends, LB_TO_SERVER, pkt->now, &place) || !lb_begins_anew(pkt, &place))
		return false;
	reset = lb_is_to_be_reset(pkt, &place);
	lb_forget(&place);
	return reset;
}

__noinline int lb_reset(evnf_ctx *ctx)
{
	struct evnf_packet *pkt = evnf_current_packet();

	if (!pkt || !evnf_is_link_unicast(ctx, pkt) || !evnf_answer_by_reset(ctx, pkt))
		return evnf_drop(EVNF_REASON_NO_BACKEND);
	return EVNF_REPLY;
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
		return lb_adopt() ? lb_translate_first(ctx, pkt, LB_TO_CLIENT, scratch) : lb_leave(pkt, scratch);
	if (service->local)
		return EVNF_LOCAL;
	evnf_note(pkt, (__u64)(service->index + 1) << 32);
	if (lb_forget_former())
		return lb_reset(ctx);
	decision = lb_open(pkt, service, scratch);
	return decision == EVNF_NEXT ? lb_translate_first(ctx, pkt, LB_TO_SERVER, scratch) : decision;
}
