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
	LB_PORT_PROBES = 16,    /* addresses and ports of the pool tried for a new connection at one server */
	LB_FIRST_PORT = 1024,   /* of a pool's addresses */
	LB_MAX_POOL = 1024,     /* addresses of both pools */
	LB_FRAGMENTS = 16384,   /* packets whose later fragments are awaited */
	LB_FRAGMENT_JIFFIES = 7500, /* 7.5 s to 75 s, whatever the kernel's HZ: about how long hosts wait for all of them */
	LB_MADE_SHIFT = 8,      /* lb_connection.made counts units of 256 jiffies */
	LB_OPENING_BITS = 17,   /* lb_openings has 2^17 sets of two */
	LB_CACHE_BITS = 12,     /* lb_cache has 2^12 entries on each CPU */
	LB_RESET_WINDOW = 1024, /* in units of 64 KiB around what was acknowledged: where a RST must lie */
};

/* SipHash key of the selection hash. The one in lb_hash_key was drawn once and is kept as state. */
struct lb_hash_key {
	__u64 halves[2];
};

/* lb_services. */
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
	__u8 by_source;   /* affinity: the slot depends on the client's address only */
	__u8 fullnat;
	__u8 local;       /* a proxy of this machine serves it */
	__u8 pad[5];
	struct lb_hash_key hash_key;
};
EVNF_STATIC_ASSERT(sizeof(struct lb_service) == 32);

/* lb_vips, by address: what packets without ports may be meant for. */
struct lb_vip {
	__u8 tcp, udp; /* some service takes it */
	__u8 local;    /* of proxies on this machine, all of its services: the address is this machine's own */
	__u8 pad;
};
EVNF_STATIC_ASSERT(sizeof(struct lb_vip) == 4);

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

/* lb_servers: the service that the server is of. */
struct lb_server {
	union evnf_address vip;
	__be16 port;
	__u16 backend; /* index */
	__u8 pad[4];
};
EVNF_STATIC_ASSERT(sizeof(struct lb_server) == 24);

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
	LB_RST = 1 << 2,  /* with its latest packet, and it was credible */
	LB_ACKED = 1 << 3, /* an acknowledgement, kept in lb_connection.acked */
	LB_FULLNAT = 1 << 7, /* said nothing: both ends are written, and lb_fullnat has what */
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
	__u8 flags;       /* LB_OPEN, LB_FIN, LB_RST, LB_ACKED, LB_FULLNAT */
	__u16 acked;      /* TCP: upper half of the latest acknowledgement number, as of last_seen */
	__u32 made;       /* jiffies >> LB_MADE_SHIFT */
	__u32 last_seen;  /* low half of jiffies */
};
EVNF_STATIC_ASSERT(sizeof(struct lb_connection) == 32);

/* Where a family's addresses are in lb_pool. */
struct lb_pool_range {
	__u32 first, count;
};

/* Rodata. */
struct lb_pools {
	struct lb_pool_range four, six;
	__u32 count; /* of both */
};

/* lb_fragments: what the later fragments of a packet are given. Without a backend, they go on as they are. */
struct lb_fragment {
	union evnf_address src, dst;
	__u64 seen; /* jiffies */
	__u32 backend;
	__u32 pad;
};
EVNF_STATIC_ASSERT(sizeof(struct lb_fragment) == 48);

/*
 * A connection that is half open, or has no entry in lb_connections for another
 * reason: one cache line for both directions. Its set depends on the client
 * only, who is in the packets of both. The head tells who wrote it when, so that
 * one compare-and-swap on it proves that the rest was whole.
 */
struct lb_opening {
	union evnf_address client, vip, server;
	__be16 client_port, vip_port, server_port;
	__u16 backend;
	__u64 head; /* last_seen in the lower half, a version, LB_OPENING_* */
};
EVNF_STATIC_ASSERT(sizeof(struct lb_opening) == 64);

#define LB_OPENING_VERSION (1ULL << 32) /* counts the writers, in 26 bits */
#define LB_OPENING_USED (1ULL << 58)
#define LB_OPENING_BUSY (1ULL << 59)     /* being written */
#define LB_OPENING_ANSWERED (1ULL << 60) /* the server has spoken */
#define LB_OPENING_MOVED (1ULL << 61)    /* to lb_connections, which is asked first */
#define LB_OPENING_UDP (1ULL << 62)      /* else TCP */

struct lb_opening_set {
	struct lb_opening ways[2];
};

/* What lb_connections said of a tuple a moment ago: lb_cache. */
struct lb_copy {
	union evnf_address src;
	union evnf_address dst;
	union evnf_address address; /* to write, as in lb_connection */
	__be16 sport;
	__be16 dport;
	__be16 port;
	__u16 backend;
	__u32 made;       /* low half of jiffies */
	__u16 version;    /* that of lb_versions before the table was asked */
	__u8 protocol;    /* 0: none */
	__u8 direction;
};
EVNF_STATIC_ASSERT(sizeof(struct lb_copy) == 64);

/* Rodata: what the settings say, in the clock of the fast path. */
struct lb_config {
	__u32 copy_jiffies;        /* how long a copy in lb_cache is believed */
	__u32 opening_jiffies_tcp; /* how long an opening is, after its latest packet */
	__u32 opening_jiffies_udp;
	struct evnf_event_limit new_flows; /* per_second 0: no limit */
};

/* Per CPU, state: lb_tracking. */
struct lb_tracking {
	__u64 opened;     /* openings made */
	__u64 moved;      /* from there to lb_connections */
	__u64 over_limit; /* packets that would have moved one: over new_flow_limit */
	__u64 table_full; /* as above: lb_connections had no room */
	__u64 unrecorded; /* new connections without an opening: two CPUs wanted the same place at once */
};

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
