/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the two paths of dpi share: the flow table, the copies that the fast
 * path makes of packets, and the commands that the slow path gives.
 *
 * A flow entry is written by BPF programs only and in place: by the fast path
 * (dpi.bpf.c) and, on behalf of the slow path, by dpi_control.bpf.c. So no
 * counter is ever overwritten by an older value of itself.
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
};

/*
 * The verdict on a flow in one word, so that it changes in one atomic step:
 * id << 24 | application << 8 | confidence << 4 | state. The id is unique to
 * the life of a flow: a verdict on an earlier flow of the same 5-tuple carries
 * another id and is refused.
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

enum dpi_flow_flags {
	DPI_FLOW_PAYLOAD = 1 << 0,   /* a packet with payload was seen */
	DPI_FLOW_GAP = 1 << 1,       /* a packet that nDPI should have had was not copied */
	DPI_FLOW_HANDSHAKE = 1 << 2, /* TCP and the first packet had no payload: `opening` tells of it */
	DPI_FLOW_FIN_0 = 1 << 3,     /* FIN seen in direction 0 */
	DPI_FLOW_FIN_1 = 1 << 4,
	DPI_FLOW_RST = 1 << 5,
};

/* What the slow path must know of a first packet that was not worth a copy. */
struct dpi_opening {
	__be32 seq;
	__be32 ack_seq;
	__u8 tcp_flags;
	__u8 direction;
	__u8 pad[2];
};

/* Map dpi_flows, by struct dpi_key. */
struct dpi_flow {
	__u64 verdict;
	__u64 packets[2]; /* by direction */
	__u64 bytes[2];   /* IP packets, without link layer */
	__u64 first_seen; /* jiffies */
	__u64 last_seen;
	__u32 flags;      /* enum dpi_flow_flags */
	__u32 copies;     /* of packets with payload, as far as they were made */
	struct dpi_opening opening;
	__u8 initiator;   /* the direction that opened the flow */
	__u8 pad[3];
};
EVNF_STATIC_ASSERT(sizeof(struct dpi_flow) == 80);

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

/* What the fast path could not do: per-CPU array dpi_faults, one element. */
struct dpi_faults {
	__u64 untracked_packets; /* no room in dpi_flows */
	__u64 lost_copies;       /* no room in the ring, or above copy_limit */
};

/* .rodata of the fast path. */
struct dpi_config {
	__u32 budget_tcp; /* copies of payload packets per flow */
	__u32 budget_udp; /* and of all that is not TCP */
	__u32 offload;    /* 0: every payload packet of a flow is copied for as long as it lives */
	__u32 workers;    /* 1 to DPI_MAX_WORKERS */
	struct evnf_event_limit copy_limit;
};

enum dpi_operation {
	DPI_CLASSIFY, /* replace the verdict of the flow */
	DPI_CLOSE,    /* add the flow to its application's totals and forget it, if idle since `last_seen` */
};

/* The context of the program dpi_control; its return value is an enum dpi_answer. */
struct dpi_command {
	struct dpi_key key;
	__u64 verdict; /* its id says which flow is meant */
	__u64 last_seen;
	__u32 operation;
	__u32 pad;
};
EVNF_STATIC_ASSERT(sizeof(struct dpi_command) == 72);

enum dpi_answer {
	DPI_DONE,
	DPI_STALE, /* that flow is no more, or it is not idle: nothing was changed */
};

#endif
