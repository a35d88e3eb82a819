/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Adoption: a server's packet of a connection that another balancer had, which
 * has died. The client may have nothing to say, so that nobody but the server
 * can tell that the connection is there. Whose it is follows from the selection
 * table, which the balancers have in common: the slot of the client must belong
 * to the server that the packet comes from.
 */
#pragma once

#include "lb_connections.bpf.h"
#include "lb_select.bpf.h"

/* Is there a service that adopts? */
const volatile __u32 lb_adopts = 0;

/* The servers of services that adopt, by the address, port and protocol that they send from. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LB_MAX_BACKENDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct lb_service_key);
	__type(value, struct lb_server);
} lb_servers SEC(".maps");

/* Is it known where the client's packets go? Then the server's packets would have been known, too, were they its. */
static __always_inline bool lb_is_known(const struct lb_opening_set *set, const struct lb_tuple *request, __u32 now)
{
	for (int way = 0; way < 2; way++)
		if (lb_is_of(&set->ways[way], request, LB_TO_SERVER) &&
		    lb_is_fresh(set->ways[way].head, request->protocol, now))
			return true;
	return bpf_map_lookup_elem(&lb_connections, request);
}

/* A server's packet, of no connection here: makes an opening if it is the reply of another balancer's connection. */
static __always_inline bool lb_adopt(const struct evnf_packet *pkt, const struct lb_tuple *tuple)
{
	struct lb_service_key key = { .vip = pkt->src, .port = pkt->sport, .protocol = pkt->protocol };
	struct lb_tuple request = { .src = tuple->dst, .sport = tuple->dport, .protocol = tuple->protocol };
	struct lb_connection to_server = { .address = tuple->src, .port = tuple->sport, .direction = LB_TO_SERVER };
	struct lb_opening_set *set;
	struct lb_service *service;
	struct lb_server *server;

	/* What begins or ends here is no connection under way. */
	if (!lb_adopts || (pkt->protocol == IPPROTO_TCP && pkt->tcp_flags & (TCP_SYN | TCP_RST)))
		return false;
	server = bpf_map_lookup_elem(&lb_servers, &key);
	if (!server)
		return false;
	key.vip = request.dst = server->vip;
	key.port = request.dport = server->port;
	service = bpf_map_lookup_elem(&lb_services, &key);
	if (!service || lb_owner_of(service, lb_slot_of(service, &request)) != server->backend)
		return false;
	set = lb_openings_of(&request.src, request.sport, request.protocol);
	if (!set || lb_is_known(set, &request, pkt->now))
		return false;
	to_server.backend = server->backend;
	lb_write_opening(lb_place_for(set, &request), pkt, &request, &to_server);
	return true;
}
