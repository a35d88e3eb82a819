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
	LB_WAYS = 7,            /* connections of a set */
	LB_KEPT_WAYS = 6,       /* of them that can be kept: one way is always left to what begins */
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

/* What becomes of a backend's connections. */
enum lb_down {
	LB_UP,         /* they go on */
	LB_DOWN,       /* they select anew */
	LB_DOWN_RESET, /* as above, but clients of TCP connections that stand are told by a reset */
};

/* lb_backends, by backend index. */
struct lb_backend {
	union evnf_address address;
	__be16 port;
	__u8 down; /* enum lb_down */
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

/* A packet's ends, as it arrives or as it leaves. */
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
	LB_TO_SERVER, /* client -> VIP; the destination is written */
	LB_TO_CLIENT, /* server -> client; the source is written */
};

/*
 * What is known of a connection in one word, so that a compare-and-swap on it
 * notes what a packet says, and proves that the rest was whole.
 */
typedef __u64 lb_head;
#define LB_SEEN ((1ULL << 28) - 1) /* jiffies >> LB_SEEN_SHIFT of the latest packet of either direction */
#define LB_SEEN_SHIFT 4
#define LB_USED (1ULL << 28)
#define LB_BUSY (1ULL << 29)     /* being written */
#define LB_UDP (1ULL << 30)      /* else TCP */
#define LB_ANSWERED (1ULL << 31) /* the server has spoken */
#define LB_KEPT (1ULL << 32)     /* then the client has spoken again: no other connection takes this one's place */
#define LB_FULLNAT (1ULL << 33)  /* both ends are written: lb_fullnat has what */
/* What a direction of a TCP connection has said since it is kept: lb_said(). */
#define LB_FIN (1ULL << 34)
#define LB_RST (1ULL << 36) /* with its latest packet, and it was credible */
#define LB_ACKED (1ULL << 38) /* an acknowledgement, in lb_connection.acked */
#define LB_VERSION (1ULL << 40) /* counts the connections that had the place, in 24 bits */
#define LB_VERSIONS (-LB_VERSION)

static inline lb_head lb_said(lb_head what, enum lb_direction direction)
{
	return what << direction;
}

static inline lb_head lb_seen_at(__u64 jiffies)
{
	return jiffies >> LB_SEEN_SHIFT & LB_SEEN;
}

/* Jiffies since the latest packet, to within 2^LB_SEEN_SHIFT; below 0 where that came after `now`. */
static inline __s32 lb_idle(lb_head head, __u64 now)
{
	const __u32 units = (lb_seen_at(now) - head) & LB_SEEN;
	const __u32 jiffies = units << LB_SEEN_SHIFT; /* the sign is that of the 28 bits */

	return jiffies;
}

/*
 * A connection, both directions: who the client is, whom it asked, who answers.
 * In fullnat the server knows the client by other names: lb_fullnat.
 */
struct lb_connection {
	union evnf_address client, vip, server;
	__be16 client_port, vip_port, server_port;
	__u16 backend;   /* index, for counters and for the backend's state */
	__u32 made;      /* jiffies >> LB_MADE_SHIFT */
	__u16 acked[2];  /* by enum lb_direction: upper half of the latest acknowledgement number, as of last seen */
};
EVNF_STATIC_ASSERT(sizeof(struct lb_connection) == 64);

/*
 * lb_connections: the connections of a client's port are all in one set, which
 * follows from a secret hash of that. The set's first cache line tells which
 * ways may have it, who is how old, and who may go; a tag of 0 was never used.
 * Tags of free ways are left over.
 */
struct lb_set {
	__u8 tags[8]; /* one a way; the last is not used */
	lb_head heads[LB_WAYS];
	struct lb_connection ways[LB_WAYS];
};
EVNF_STATIC_ASSERT(sizeof(struct lb_set) == 512);

/* Whose secret hash decides who meets whom: else who knows a client could push its connection out. */
static inline __u64 lb_mix(const union evnf_address *client, __be16 port, __u8 protocol, const struct lb_hash_key *key)
{
	__u64 mixed = client->halves[0] * (key->halves[0] | 1) + client->halves[1];

	mixed = (mixed ^ mixed >> 29) * (key->halves[1] | 1) + ((protocol & 0xffu) << 16 | port);
	return (mixed ^ mixed >> 32) * 0x9e3779b97f4a7c15ull;
}

static inline __u32 lb_set_of(__u64 mixed, __u32 sets)
{
	return (mixed >> 32) * sets >> 32;
}

static inline __u8 lb_tag_of(__u64 mixed)
{
	return (mixed >> 16 & 0xff) | 1;
}

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

/* Rodata: what the settings say, in the clock of the fast path. */
struct lb_config {
	__u32 sets;                /* elements of lb_connections */
	__u32 opening_jiffies_tcp; /* how long a connection that is not kept is remembered, after its latest packet */
	__u32 opening_jiffies_udp;
	__u32 fullnat;             /* some service is in fullnat, or was */
	struct evnf_event_limit new_flows; /* per_second 0: no limit */
};

/* Per CPU, state: lb_tracking. */
struct lb_tracking {
	__u64 opened;     /* connections remembered */
	__u64 kept;       /* of them */
	__u64 replaced;   /* that were not kept and gave their place to another one before their time */
	__u64 over_limit; /* packets that would have let one be kept: over new_flow_limit */
	__u64 table_full; /* as above: its set had no room */
	__u64 unrecorded; /* new connections that nobody remembers: two CPUs wanted the same place at once */
};

enum lb_state {
	LB_STATE_SYN,         /* not kept yet */
	LB_STATE_ESTABLISHED,
	LB_STATE_FIN,         /* one side has closed */
	LB_STATE_CLOSED,      /* both have, or one has reset */
	LB_STATE_UDP,
};

static inline enum lb_state lb_state_of(lb_head head)
{
	const lb_head fins = lb_said(LB_FIN, LB_TO_SERVER) | lb_said(LB_FIN, LB_TO_CLIENT);

	if (head & LB_UDP)
		return LB_STATE_UDP;
	if (!(head & LB_KEPT))
		return LB_STATE_SYN;
	if (head & (lb_said(LB_RST, LB_TO_SERVER) | lb_said(LB_RST, LB_TO_CLIENT)) || (head & fins) == fins)
		return LB_STATE_CLOSED;
	return head & fins ? LB_STATE_FIN : LB_STATE_ESTABLISHED;
}

#endif
