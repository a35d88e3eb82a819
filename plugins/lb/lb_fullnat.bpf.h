/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Mode fullnat: the server sees an address and port of the pool in place of the
 * client's. Whose a port is, is decided by who first has the reply's tuple in
 * the connection table: nothing else counts or reserves ports.
 */
#pragma once

#include "lb_connections.bpf.h"
#include "lb_select.bpf.h"

#define EEXIST 17

enum lb_insertion { LB_INSERTED, LB_TABLE_FULL, LB_TAKEN };

const volatile struct lb_pools lb_pools = {};

/* The addresses of both pools. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LB_MAX_POOL);
	__type(key, __u32);
	__type(value, union evnf_address);
} lb_pool SEC(".maps");

/* The entries of a connection that is being made: more than the stack has room for. */
struct lb_draft {
	struct lb_tuple after, reply, reply_after;
	struct lb_connection to_client;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lb_draft);
} lb_drafts SEC(".maps");

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

/* Makes the four entries of a new connection, the one that its packets are found by last. */
static __always_inline enum lb_insertion lb_insert_draft(const struct lb_tuple *tuple, struct lb_draft *draft,
							 const struct lb_connection *to_server)
{
	int error; /* not long: before Linux 6.4 the upper half of what map helpers return is not the sign's */

	lb_turn(&draft->after, &draft->reply);
	error = bpf_map_update_elem(&lb_connections, &draft->reply, &draft->to_client, BPF_NOEXIST);
	if (error)
		return error == -EEXIST ? LB_TAKEN : LB_TABLE_FULL;
	if (!bpf_map_update_elem(&lb_fullnat, &draft->reply, &draft->reply_after, BPF_ANY) &&
	    !bpf_map_update_elem(&lb_fullnat, tuple, &draft->after, BPF_ANY) &&
	    !bpf_map_update_elem(&lb_connections, tuple, to_server, BPF_ANY))
		return LB_INSERTED;
	lb_erase(tuple, to_server);
	lb_erase(&draft->reply, to_server);
	return LB_TABLE_FULL;
}

/* LB_TAKEN where none of the ports tried was free. */
__noinline int lb_insert_fullnat(const struct lb_tuple *tuple, const struct lb_connection *to_server)
{
	enum lb_insertion inserted = LB_TAKEN;
	__u32 zero = 0;
	struct lb_draft *draft = bpf_map_lookup_elem(&lb_drafts, &zero);
	__u32 address = bpf_get_prandom_u32(), port = bpf_get_prandom_u32();
	bool four;

	if (!lb_pools.count || !tuple || !to_server || !draft)
		return LB_TAKEN;
	four = !tuple->src.halves[0] && tuple->src.words[2] == bpf_htonl(0xffff);
	draft->after = *tuple;
	draft->after.dst = to_server->address;
	draft->after.dport = to_server->port;
	lb_turn(tuple, &draft->reply_after);
	lb_fill_reply_entry(tuple, to_server, &draft->to_client);
	for (__u32 i = 0; i < LB_PORT_PROBES && inserted == LB_TAKEN; i++) {
		/* The next address and quite another port. */
		if (!lb_pool_place(four ? &lb_pools.four : &lb_pools.six, address + i, port + i * 40503u, &draft->after))
			break;
		inserted = lb_insert_draft(tuple, draft, to_server);
	}
	return inserted;
}
