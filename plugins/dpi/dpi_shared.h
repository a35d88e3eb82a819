/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the two paths of dpi share: the flow table, and the copies that the fast
 * path makes of packets.
 *
 * Both paths write the table, in place: counters by atomic addition, heads and
 * verdicts by compare-and-swap, so that nobody undoes what another one wrote.
 * Counters of a place are never set to 0 but taken by an exchange. A packet that
 * is counted just when its flow ends is then counted with the next flow of that
 * place: the sums over all flows are exact.
 */
#ifndef DPI_SHARED_H
#define DPI_SHARED_H

#include <evnf/packet_shared.h>

enum {
	/* Bytes of packet in a record: requests and ACKs; the usual MTU; all that fits an XDP frame. */
	DPI_SMALL_COPY = 256,
	DPI_MEDIUM_COPY = 1536,
	DPI_LARGE_COPY = 4096,
	DPI_RING_BYTES = 16 << 20,
	DPI_WAKE_BYTES = DPI_RING_BYTES / 8, /* fill level at which the reader is woken at once */
	DPI_MAX_APPS = 4096,       /* application and category pairs that can be told apart */
	DPI_NAME_SIZE = 64,
	DPI_WAYS = 7,              /* flows of a set */
	DPI_MAX_POLICIES = 64,     /* with number 0, which is none */
	DPI_NEVER_PREFIXES = 4096, /* of never_inspect */
};

/* Where inspection of a flow stands. */
enum dpi_state {
	DPI_NEW,        /* no payload seen, or not inspected for another reason */
	DPI_INSPECTING, /* payload is being copied to the slow path */
	DPI_CLASSIFIED, /* final: the application is known */
	DPI_GAVE_UP,    /* final: the budget was spent and the application is not known */
};

/* How the application of a flow is known: stable numbers, whatever the version of nDPI. */
enum dpi_confidence {
	DPI_CONFIDENCE_UNKNOWN,
	DPI_CONFIDENCE_PORT,      /* by the ports alone */
	DPI_CONFIDENCE_ADDRESS,   /* by the addresses alone */
	DPI_CONFIDENCE_DPI_CACHE, /* by what related flows were */
	DPI_CONFIDENCE_PARTIAL,   /* by part of what inspection wants */
	DPI_CONFIDENCE_DPI,       /* by inspection */
	DPI_CONFIDENCE_RULE,      /* by ports or addresses of a protocol that protocols_file defines */
};

/*
 * The verdict on a flow in one word, so that it changes in one atomic step:
 * id << 24 | application << 8 | confidence << 4 | state. The id is unique to
 * the life of a flow, and to each time that it is inspected: a verdict on an
 * earlier flow of the same 5-tuple carries another id and is refused.
 */
static inline __u64 dpi_verdict(__u64 id, __u32 app, __u32 confidence, __u32 state)
{
	return id << 24 | app << 8 | confidence << 4 | state;
}

static inline __u64 dpi_verdict_id(__u64 verdict)
{
	return verdict >> 24;
}

static inline __u32 dpi_verdict_app(__u64 verdict)
{
	return verdict >> 8 & 0xffff;
}

static inline __u32 dpi_verdict_confidence(__u64 verdict)
{
	return verdict >> 4 & 0xf;
}

static inline __u32 dpi_verdict_state(__u64 verdict)
{
	return verdict & 0xf;
}

/*
 * Both directions of a flow have the same key: the endpoints are ordered by
 * address, then port. Direction 0 is the one from endpoint 0 to endpoint 1.
 */
struct dpi_key {
	union evnf_address address[2];
	__be16 port[2]; /* 0 where there are none: other protocols, later fragments */
	__u16 vlan[2];
	__u8 protocol;
	__u8 pad[7];
};
EVNF_STATIC_ASSERT(sizeof(struct dpi_key) == 48);

/* What a copy says of its flow. */
enum dpi_flow_flags {
	DPI_FLOW_GAP = 1 << 0,       /* a packet that nDPI should have had was not copied */
	DPI_FLOW_HANDSHAKE = 1 << 1, /* TCP and the first packet had no payload: `opening` tells of it */
	DPI_FLOW_NEVER = 1 << 2,     /* one of its ends is in never_inspect */
};

/* What the slow path must know of a first packet that was not worth a copy. */
struct dpi_opening {
	__be32 seq;
	__be32 ack_seq;
	__u8 tcp_flags;
	__u8 direction;
	__u8 pad[2];
};

/*
 * What is known of a place in one word: whether a flow is there, and all that
 * its packets say that is not counted. A packet that says nothing new writes nothing.
 */
typedef __u64 dpi_head;
#define DPI_SEEN ((1ULL << 28) - 1) /* jiffies >> DPI_SEEN_SHIFT of the latest packet of either direction */
#define DPI_SEEN_SHIFT 4
#define DPI_USED (1ULL << 28)
#define DPI_BUSY (1ULL << 29)      /* being written */
#define DPI_TCP (1ULL << 30)
#define DPI_ENDED (1ULL << 31)     /* its 5-tuple has begun anew elsewhere: counted, and to be recorded */
#define DPI_OFFLOADED (1ULL << 32) /* no other flow takes its place */
#define DPI_PAYLOAD (1ULL << 33)   /* a packet with payload was seen */
#define DPI_FIN (1ULL << 34)       /* dpi_fin(direction) */
#define DPI_RST (1ULL << 36)
#define DPI_VERSION (1ULL << 40)   /* counts the flows that had the place, in 24 bits */
#define DPI_VERSIONS (-DPI_VERSION)

static inline dpi_head dpi_fin(__u32 direction)
{
	return DPI_FIN << (direction & 1);
}

static inline dpi_head dpi_seen_at(__u64 jiffies)
{
	return jiffies >> DPI_SEEN_SHIFT & DPI_SEEN;
}

/* Jiffies since the latest packet, to within 2^DPI_SEEN_SHIFT; below 0 where that came after `now`. */
static inline __s32 dpi_idle(dpi_head head, __u64 now)
{
	const __u32 units = (dpi_seen_at(now) - head) & DPI_SEEN;
	const __u32 jiffies = units << DPI_SEEN_SHIFT; /* the sign is that of the 28 bits */

	return jiffies;
}

/* Both directions of a TCP connection have said that they are through, or one has reset it. */
static inline int dpi_is_closed(dpi_head head)
{
	const dpi_head fins = DPI_FIN | DPI_FIN << 1;

	return head & DPI_RST || (head & fins) == fins;
}

/* A flow: what it is in the first cache line, what it has done in the second. */
struct dpi_flow {
	struct dpi_key key;
	__u64 verdict;
	__u32 copies;     /* of packets with payload, as far as they were made */
	__u32 first_seen; /* jiffies, lower half */
	__u64 packets[2]; /* by direction */
	__u64 bytes[2];   /* of frames, as the port counts them */
	struct dpi_opening opening;
	__u16 flags;      /* enum dpi_flow_flags */
	__u8 initiator;   /* the direction that opened the flow */
	__u8 pad;
	__u64 risks;      /* nDPI's bits, with the verdict */
	__u64 inspected;  /* bytes that the flow had when it was last inspected */
};
EVNF_STATIC_ASSERT(sizeof(struct dpi_flow) == 128);

/*
 * dpi_table: a flow is in one of two sets, which follow from a secret hash of its
 * key: in the second where it found no room in the first. The set's first cache
 * line tells which ways may have it and who may go. Tags of free ways are left over.
 */
struct dpi_set {
	__u8 tags[7];   /* one a way; 0 was never used */
	__u8 displaced; /* not 0: flows of this set were given a place in their second one */
	dpi_head heads[DPI_WAYS];
	struct dpi_flow ways[DPI_WAYS];
};
EVNF_STATIC_ASSERT(sizeof(struct dpi_set) == 960);

/* Drawn at random once and kept as state. */
struct dpi_hash_key {
	__u64 halves[2];
};

/* Whose secret hash decides who meets whom: else a flow could be pushed out on purpose. */
static inline __u64 dpi_mix(const struct dpi_key *key, const struct dpi_hash_key *secret)
{
	const __u64 ports = key->port[0] * 65536ull + key->port[1];
	const __u64 vlans = key->vlan[0] * 65536ull + key->vlan[1];
	__u64 mixed = key->address[0].halves[0] * (secret->halves[0] | 1) + key->address[0].halves[1];

	mixed = (mixed ^ mixed >> 29) * (secret->halves[1] | 1) + key->address[1].halves[0];
	mixed = (mixed ^ mixed >> 31) * (secret->halves[0] | 1) + key->address[1].halves[1];
	mixed = (mixed ^ mixed >> 29) * (secret->halves[1] | 1) + (ports << 32 | vlans);
	return ((mixed ^ mixed >> 32) + key->protocol) * 0x9e3779b97f4a7c15ull;
}

static inline __u32 dpi_first_set(__u64 mixed, __u32 sets)
{
	return (mixed >> 32) * sets >> 32;
}

static inline __u32 dpi_second_set(__u64 mixed, __u32 sets)
{
	return (mixed * 0xc2b2ae3d27d4eb4full >> 32) * sets >> 32;
}

static inline __u8 dpi_tag_of(__u64 mixed)
{
	return (mixed >> 16 & 0xff) | 1;
}

/* The way that a flow is given where that is free: it is looked at first. */
static inline __u32 dpi_home_of(__u64 mixed)
{
	return (mixed >> 8 & 0xff) * DPI_WAYS >> 8;
}

/* A copy of a packet, from its IP header on: a record of one of the rings dpi_copies_N. */
struct dpi_copy {
	struct dpi_key key;
	__u64 id;          /* of the flow */
	__u64 now;         /* jiffies */
	__u32 length;      /* bytes of packet that follow */
	__u32 l3_length;   /* of the packet: more than `length` where the copy is cut */
	__u32 flow_flags;  /* enum dpi_flow_flags */
	struct dpi_opening opening;
	__u16 l4_offset;   /* from the IP header */
	__u8 direction;
	__u8 from_initiator;
	__u8 is_last;      /* the budget of the flow is spent with this one */
	__u8 pad[3];
	__u8 data[];
};
EVNF_STATIC_ASSERT(sizeof(struct dpi_copy) == 96);

/* An application as the operator knows it: array dpi_apps. Element 0 is the unknown one. */
struct dpi_app {
	char name[DPI_NAME_SIZE]; /* "TLS.Google"; empty: the element is free */
	char category[DPI_NAME_SIZE];
};

/* Flows that have ended, by application: array dpi_totals. */
struct dpi_totals {
	__u64 flows;
	__u64 packets;
	__u64 bytes;
	__u64 pad;
};

/* Packets that no flow's record tells of, and copies that were not made: per-CPU array dpi_faults, one element. */
struct dpi_faults {
	__u64 untracked_packets; /* no room in dpi_table */
	__u64 untracked_bytes;
	__u64 evicted_flows;     /* that gave their place to a newer one: in dpi_totals, with these packets */
	__u64 evicted_packets;
	__u64 evicted_bytes;
	__u64 lost_copies;       /* no room in the ring, or above copy_limit */
};

/* What the slow path counts: array dpi_tally, one element. */
struct dpi_tally {
	__u64 stale_verdicts; /* on flows that were no more */
	__u64 fresh_budgets;  /* given to flows with lost copies */
};

enum dpi_action {
	DPI_ALLOW, /* also: count */
	DPI_DROP,
	DPI_MARK,
};

/* A policy: array dpi_policies, by number, in the order in which they are asked. 0 is that of all that none matches. */
struct dpi_policy {
	__u64 risks; /* that it matches, any of them; 0 where it asks for application or category: see dpi_policy_of_app */
	__u8 action; /* enum dpi_action */
	__u8 dscp;
	__u8 pad[6];
};
EVNF_STATIC_ASSERT(sizeof(struct dpi_policy) == 16);

/* Per-CPU array dpi_policed, by number of the policy. */
struct dpi_policed {
	__u64 packets;
	__u64 bytes;
};

/* Key of dpi_never, a trie. */
struct dpi_prefix {
	__u32 length; /* of the address as mapped into IPv6 */
	__be32 words[4];
};
EVNF_STATIC_ASSERT(sizeof(struct dpi_prefix) == 20);

/* .rodata of the fast path. */
struct dpi_config {
	__u32 sets;       /* elements of dpi_table */
	__u32 budget_tcp; /* copies of payload packets per flow */
	__u32 budget_udp; /* and of all that is not TCP */
	__u32 workers;    /* 1 to DPI_MAX_WORKERS */
	__u32 copies_end; /* 0: every payload packet of a flow is copied for as long as it lives */
	__u32 policies;   /* how many there are */
	__u32 never;      /* some prefix is never inspected */
	struct evnf_event_limit copy_limit;
	__u64 risks;      /* that some policy asks for */
};

#endif
