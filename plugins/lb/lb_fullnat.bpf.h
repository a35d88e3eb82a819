/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Mode fullnat: the server sees an address and port of the pool in place of the
 * client's. Whose a port is, is decided by who first has the reply's tuple in
 * lb_fullnat: nothing else counts or reserves ports.
 */
#pragma once

#include "lb_translation.bpf.h"

#define EEXIST 17

enum lb_port { LB_PORT_TAKEN, LB_PORTS_IN_USE, LB_PORTS_FULL };

const volatile struct lb_pools lb_pools = {};

/* The addresses of both pools. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LB_MAX_POOL);
	__type(key, __u32);
	__type(value, union evnf_address);
} lb_pool SEC(".maps");

/* The pool's place for these two random numbers. */
static __always_inline bool lb_pool_place(const volatile struct lb_pool_range *range, __u32 address, __u32 port,
					  struct lb_tuple *after)
{
	__u32 index = range->first + address % range->count;
	const union evnf_address *found = bpf_map_lookup_elem(&lb_pool, &index);

	if (!found)
		return false;
	after->src = *found;
	after->sport = bpf_htons(LB_FIRST_PORT + port % (0x10000 - LB_FIRST_PORT));
	return true;
}

/* Both translations of the connection from scratch->before to scratch->after, if nobody has that port. */
static __always_inline enum lb_port lb_try_port(struct lb_scratch *scratch)
{
	int error; /* not long: before Linux 6.4 the upper half of what map helpers return is not the sign's */

	lb_turn(&scratch->after, &scratch->reply);
	error = bpf_map_update_elem(&lb_fullnat, &scratch->reply, &scratch->reply_after, BPF_NOEXIST);
	if (error)
		return error == -EEXIST ? LB_PORTS_IN_USE : LB_PORTS_FULL;
	if (!bpf_map_update_elem(&lb_fullnat, &scratch->before, &scratch->after, BPF_ANY))
		return LB_PORT_TAKEN;
	bpf_map_delete_elem(&lb_fullnat, &scratch->reply);
	return LB_PORTS_FULL;
}

/* enum lb_port: one for the packet's connection to the server in scratch->change. */
__noinline int lb_take_port(void)
{
	const struct evnf_packet *pkt = evnf_current_packet();
	__u32 address = bpf_get_prandom_u32(), port = bpf_get_prandom_u32();
	struct lb_scratch *scratch = lb_scratch();
	const volatile struct lb_pool_range *range;
	enum lb_port result = LB_PORTS_IN_USE;

	if (!pkt || !scratch)
		return LB_PORTS_IN_USE;
	range = pkt->ip_version == 4 ? &lb_pools.four : &lb_pools.six;
	if (!range->count)
		return LB_PORTS_IN_USE;
	lb_read_tuple(pkt, &scratch->before);
	lb_turn(&scratch->before, &scratch->reply_after);
	scratch->after.dst = scratch->change.address;
	scratch->after.dport = scratch->change.port;
	scratch->after.protocol = pkt->protocol;
	for (__u32 i = 0; i < LB_PORT_PROBES && result == LB_PORTS_IN_USE; i++) {
		/* The next address and quite another port. */
		if (!lb_pool_place(range, address + i, port + i * 40503u, &scratch->after))
			break;
		result = lb_try_port(scratch);
	}
	return result;
}

/* The port of the connection whose client's packets have the tuple scratch->before is free again. */
static __always_inline void lb_give_back_port(struct lb_scratch *scratch)
{
	if (!lb_look_up_both(scratch))
		return;
	lb_turn(&scratch->after, &scratch->reply);
	bpf_map_delete_elem(&lb_fullnat, &scratch->reply);
	bpf_map_delete_elem(&lb_fullnat, &scratch->before);
}

/* As above, of this connection with this head. */
static __always_inline void lb_give_back_port_of(const struct lb_connection *connection, lb_head head)
{
	struct lb_scratch *scratch = lb_scratch();

	if (!scratch || (head & (LB_USED | LB_FULLNAT)) != (LB_USED | LB_FULLNAT))
		return;
	scratch->before.src = connection->client;
	scratch->before.dst = connection->vip;
	scratch->before.sport = connection->client_port;
	scratch->before.dport = connection->vip_port;
	scratch->before.protocol = head & LB_UDP ? IPPROTO_UDP : IPPROTO_TCP;
	lb_give_back_port(scratch);
}
