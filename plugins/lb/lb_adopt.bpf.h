/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Adoption: a server's packet of a connection that another balancer had, which
 * has died. The client may have nothing to say, so that nobody but the server
 * can tell that the connection is there. Whose it is follows from the selection
 * table, which the balancers have in common: the slot of the client must belong
 * to the server that the packet comes from. Part of lb_open.bpf.h.
 */
#pragma once

#include "lb_open.bpf.h"

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

/* Is the packet, of no connection here, the reply of another balancer's? Remembers that, and fills scratch->change. */
__noinline int lb_adopt(void)
{
	const struct evnf_packet *pkt = evnf_current_packet();
	struct lb_scratch *scratch = lb_scratch();
	struct lb_service_key key = {};
	struct lb_service *service;
	struct lb_server *server;
	struct lb_place place;
	struct lb_ends request;

	/* What begins or ends here is no connection under way. */
	if (!lb_adopts || !pkt || !scratch || (pkt->protocol == IPPROTO_TCP && pkt->tcp_flags & (EVNF_TCP_SYN | EVNF_TCP_RST)))
		return false;
	key.vip = pkt->src;
	key.port = pkt->sport;
	key.protocol = pkt->protocol;
	server = bpf_map_lookup_elem(&lb_servers, &key);
	if (!server)
		return false;
	key.vip = server->vip;
	key.port = server->port;
	request = lb_ends_of(pkt, LB_TO_CLIENT);
	request.peer = &server->vip;
	request.peer_port = server->port;
	service = bpf_map_lookup_elem(&lb_services, &key);
	if (!service || lb_owner_of(service, lb_slot_of(service, &request)) != server->backend)
		return false;
	/* Where it is known to whom the client's packets go, the server's would have been known, too, were they its. */
	if (lb_locate(&request, LB_TO_SERVER, pkt->now, &place))
		return false;
	scratch->change = (struct lb_change){ .address = pkt->src, .port = pkt->sport, .backend = server->backend };
	lb_remember(pkt, &request, &scratch->change, LB_ANSWERED);
	scratch->change.address = server->vip;
	scratch->change.port = server->port;
	return true;
}
