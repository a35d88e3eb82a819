/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the load balancer's fast path and slow path both know: services, the
 * server-selection table, backends, and the connection table with its states.
 */
#ifndef LB_SHARED_H
#define LB_SHARED_H

#include <linux/in.h>

#include <evnf/packet_shared.h>

enum {
	LB_MAX_SERVICES = 256,
	LB_MAX_BACKENDS = 4096, /* of all services; backend indices are stable by name */
	LB_NO_BACKEND = 0xffff, /* owner of a slot that nobody serves */
	LB_PAGE = 256,          /* slots in one element of lb_slots */
	LB_MAX_SLOTS = 65536,   /* of one service */
	LB_PROBES = 4,          /* slots tried for a new connection whose reply tuple is taken */
	LB_MADE_SHIFT = 8,      /* lb_connection.made counts units of 256 jiffies */
};

/* SipHash key of the selection hash. The one in lb_hash_key was drawn once and is kept as state. */
struct lb_hash_key {
	__u64 halves[2];
};

/* lb_services and, with port 0, lb_vips. */
struct lb_service_key {
	union evnf_address vip;
	__be16 port;
	__u8 protocol;
	__u8 pad[5];
};
EVNF_STATIC_ASSERT(sizeof(struct lb_service_key) == 24);

struct lb_service {
	__u32 index;      /* in the configuration */
	__u32 slots;
	__u32 by_source;  /* affinity: the slot depends on the client's address only */
	__u32 pad;
	struct lb_hash_key hash_key;
};
EVNF_STATIC_ASSERT(sizeof(struct lb_service) == 32);

/*
 * Part of a service's selection table: slot -> backend. Slot s is in page
 * s / LB_PAGE after the first. A service has room for two tables: lb_tables, by
 * service index, has the first page of the live one, a word that changes at once.
 */
struct lb_page {
	__u16 backend[LB_PAGE];
};
EVNF_STATIC_ASSERT(sizeof(struct lb_page) == 2 * LB_PAGE);

/* A page of lb_saved, which remembers who owned the slots over restarts of the daemon. */
struct lb_saved_key {
	char service[60];
	__u32 page;
};
EVNF_STATIC_ASSERT(sizeof(struct lb_saved_key) == 64);

/* lb_backends, by backend index. */
struct lb_backend {
	union evnf_address address;
	__be16 port;
	__u8 down; /* its connections select anew */
	__u8 pad[5];
};
EVNF_STATIC_ASSERT(sizeof(struct lb_backend) == 24);

/* Set by `evnfctl lb drain|activate`, over what is configured. */
enum lb_command {
	LB_COMMAND_NONE,
	LB_COMMAND_ACTIVATE,
	LB_COMMAND_DRAIN,
};

enum { LB_FEEDBACK_ONE = 1 << 16 };

/*
 * lb_steered, by backend index: what commands, health checks and feedback have
 * made of a backend since it was configured. State: reload and restart go on from it.
 */
struct lb_steered {
	__u32 feedback;    /* the configured weight times this, in units of 1 / LB_FEEDBACK_ONE */
	__u8 has_feedback;
	__u8 unhealthy;
	__u8 command;      /* enum lb_command */
	__u8 configured;   /* the state that the command was given against */
	__u64 moved;       /* slots that it took over from other backends */
	__u64 turns;       /* changes of its health */
};
EVNF_STATIC_ASSERT(sizeof(struct lb_steered) == 24);

/* Per-CPU counters, both directions: lb_counters, by backend index. */
struct lb_counters {
	__u64 packets;
	__u64 bytes;
};

/* The packet as it arrives, before translation: key of lb_connections. */
struct lb_tuple {
	union evnf_address src;
	union evnf_address dst;
	__be16 sport;
	__be16 dport;
	__u8 protocol;
	__u8 pad[3];
};
EVNF_STATIC_ASSERT(sizeof(struct lb_tuple) == 40);

enum lb_direction {
	LB_TO_SERVER, /* tuple client -> VIP; translates the destination */
	LB_TO_CLIENT, /* tuple server -> client; translates the source */
};

/* What one direction of a TCP connection has said. UDP only ever opens. */
enum {
	LB_OPEN = 1 << 0, /* more than a bare SYN */
	LB_FIN = 1 << 1,
	LB_RST = 1 << 2,  /* with its latest packet */
};

/*
 * One direction of a connection. Both directions have an entry of their own, so
 * that a packet costs one lookup and no two CPUs write the same entry; each
 * finds the other by tuple when it must know the connection's state. 32 bytes
 * of value and 40 of key make an element of the kernel's allocator 128 bytes exactly.
 */
struct lb_connection {
	union evnf_address address; /* to write: the server's, or the VIP */
	__be16 port;
	__u16 backend;    /* index, for counters and for the backend's state */
	__u8 direction;   /* enum lb_direction */
	__u8 flags;       /* LB_OPEN, LB_FIN, LB_RST */
	__u16 pad;
	__u32 made;       /* jiffies >> LB_MADE_SHIFT */
	__u32 last_seen;  /* low half of jiffies */
};
EVNF_STATIC_ASSERT(sizeof(struct lb_connection) == 32);

enum lb_state {
	LB_STATE_SYN,         /* not yet open in both directions */
	LB_STATE_ESTABLISHED,
	LB_STATE_FIN,         /* one side has closed */
	LB_STATE_CLOSED,      /* both have, or one has reset */
	LB_STATE_UDP,
};

/* The state of a connection from the flags of its directions. */
static inline enum lb_state lb_state_of(__u8 protocol, __u8 to_server, __u8 to_client)
{
	if (protocol != IPPROTO_TCP)
		return LB_STATE_UDP;
	if ((to_server | to_client) & LB_RST)
		return LB_STATE_CLOSED;
	if (!(to_server & to_client & LB_OPEN))
		return LB_STATE_SYN;
	if (to_server & to_client & LB_FIN)
		return LB_STATE_CLOSED;
	return (to_server | to_client) & LB_FIN ? LB_STATE_FIN : LB_STATE_ESTABLISHED;
}

#endif
