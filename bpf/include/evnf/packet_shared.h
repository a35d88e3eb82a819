/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The contract between the fast path and user space: what a packet looks like
 * once it is parsed, what a stage may decide, why, and what is counted.
 * Plain C, read by BPF programs and by C++ alike.
 */
#ifndef EVNF_PACKET_SHARED_H
#define EVNF_PACKET_SHARED_H

#include <linux/types.h>

#ifdef __cplusplus
#define EVNF_STATIC_ASSERT(condition) static_assert(condition, #condition)
#else
#define EVNF_STATIC_ASSERT(condition) _Static_assert(condition, #condition)
#endif

enum {
	EVNF_MAX_PORTS = 64,   /* ports of one daemon; index into evnf_ports and evnf_egress */
	EVNF_MAX_STAGES = 32,  /* entry, forwarder and plugin instances; index into evnf_stages */
	EVNF_MAX_CHAIN = 24,   /* plugins in one chain; the kernel allows 33 tail calls */
	EVNF_MAX_SLOTS = 1024, /* slots of the PROG_ARRAY of a generation */
	EVNF_NEXTHOPS = 4096,  /* entries of the next-hop cache of a CPU, a power of two */
	EVNF_MAX_REENTRIES = 1024, /* places of a generation where a packet can come back from the kernel */
	EVNF_STAGE_ENTRY = 0,
	EVNF_STAGE_FORWARDER = 1,
	EVNF_STAGE_FIRST_PLUGIN = 2,
	EVNF_NO_VLAN = 0xffff,
	EVNF_NO_PORT = 0xffff,
};

/* An IPv6 address, or an IPv4 address mapped into IPv6 (::ffff:a.b.c.d): one key type for both. */
union evnf_address {
	__u8 bytes[16];
	__be32 words[4]; /* words[3] is the IPv4 address */
	__u64 halves[2];
};
EVNF_STATIC_ASSERT(sizeof(union evnf_address) == 16);

enum evnf_verdict {
	EVNF_NEXT,    /* go on with the next stage of the chain */
	EVNF_DROP,    /* final; carries a reason */
	EVNF_KERNEL,  /* leave the chain here for the kernel's stack */
	EVNF_LOCAL,   /* final: the packet is for this host */
	EVNF_REPLY,   /* final: send the frame, as it now is, out of the port it came from */
	EVNF_FORWARD, /* final: the forwarder's, out of another port or the same */
	EVNF_VERDICTS,
	/* Counted beside the verdicts: left to the kernel, came back, and was counted once more by its final verdict. */
	EVNF_COUNT_RESUMED = 7,
};

/*
 * Why a packet was dropped or left to the kernel. Append only: the numbers are
 * kept in counters that outlive a daemon. X(NAME, "name in JSON", "what it means")
 */
#define EVNF_REASONS(X)                                                                            \
	X(NONE, "none", "no reason needed")                                                        \
	X(MALFORMED_ETHERNET, "malformed_ethernet", "frame shorter than its Ethernet header")      \
	X(TOO_MANY_VLAN_TAGS, "too_many_vlan_tags", "more than two VLAN tags")                     \
	X(MALFORMED_IPV4, "malformed_ipv4", "IPv4 header cut short or its lengths impossible")     \
	X(MALFORMED_IPV6, "malformed_ipv6", "IPv6 header cut short, its lengths or addresses impossible") \
	X(TOO_MANY_HEADERS, "too_many_headers", "IPv6 extension headers too many or too long")     \
	X(ROUTING_HEADER_0, "routing_header_0", "IPv6 routing header type 0 (RFC 5095)")           \
	X(MALFORMED_L4, "malformed_l4", "TCP, UDP, SCTP or ICMP header cut short or impossible")   \
	X(TINY_FRAGMENT, "tiny_fragment", "fragment that hides or overlaps an L4 header (RFC 1858, 3128)") \
	X(MISSED_TAIL_CALL, "missed_tail_call", "a stage of the chain was missing")                \
	X(INTERNAL, "internal", "a map that always exists was not there")                          \
	X(RULE, "rule", "a rule said so")                                                          \
	X(DEFAULT, "default", "no rule matched and the default says so")                           \
	X(POLICY, "policy", "a policy said so")                                                    \
	X(NO_BACKEND, "no_backend", "the service has no backend that takes traffic")               \
	X(TRUNCATED, "truncated", "a header that the entry saw is not there any more")             \
	X(CONTROL, "control", "ARP, neighbour discovery, DHCP client or other link control")       \
	X(NOT_IP, "not_ip", "neither IPv4 nor IPv6")                                               \
	X(OTHER_HOST, "other_host", "addressed to another station's MAC address")                  \
	X(TTL_EXPIRED, "ttl_expired", "TTL or hop limit exhausted")                                \
	X(NOT_UNICAST, "not_unicast", "multicast, broadcast or unroutable address")                \
	X(IP_OPTIONS, "ip_options", "IP options that a router must look at")                       \
	X(VLAN, "vlan", "VLAN-tagged: the kernel's VLAN interface routes it")                      \
	X(FRAGMENTATION_NEEDED, "fragmentation_needed", "larger than the MTU of the next hop")     \
	X(NO_NEIGHBOUR, "no_neighbour", "the next hop's MAC address is not known yet")             \
	X(NO_ROUTE, "no_route", "unreachable, prohibited or blackholed by the routing table")      \
	X(NOT_FORWARDED, "not_forwarded", "for this host, or forwarding is off")                   \
	X(EGRESS_NOT_A_PORT, "egress_not_a_port", "leaves by an interface that eVNF does not serve") \
	X(NO_WIRE, "no_wire", "the port has no partner in forwarding.wires")                       \
	X(TABLE_FULL, "table_full", "a state table had no room")                                   \
	X(FRAGMENT, "fragment", "a fragment that cannot be matched to its connection")             \
	X(TUPLE_TAKEN, "tuple_taken", "another connection has these addresses and ports after translation") \
	X(NOT_RESUMABLE, "not_resumable", "a stage left it to the kernel where nothing brings it back")  \
	X(RESUME_LOST, "resume_lost", "somebody's tc filter reset tc_index, which says where its chain goes on") \
	X(STALE_GENERATION, "stale_generation", "came back from the kernel after its generation was gone") \
	X(VIP_NOT_SERVED, "vip_not_served", "addressed to a VIP, and no service takes it") \
	X(ORPHANED, "orphaned", "the slow path of the stage is dead, and its orphan says drop") \
	X(UNKNOWN_LINK, "unknown_link", "would go on with its chain at an interface whose frames eVNF cannot parse") \
	X(SEARCH_LIMIT, "search_limit", "fw's rules leave more candidates for this packet than it may look at") \
	X(REJECT_LIMIT, "reject_limit", "to be rejected, and too many packets were answered just now") \
	X(TAP, "tap", "a copy from a tap: looked at, and no more")

enum evnf_reason {
#define EVNF_REASON_ENUM(name, json, text) EVNF_REASON_##name,
	EVNF_REASONS(EVNF_REASON_ENUM)
#undef EVNF_REASON_ENUM
	EVNF_REASON_COUNT,
	EVNF_REASON_MAX = 64, /* room in the counters for reasons to come */
};
EVNF_STATIC_ASSERT(EVNF_REASON_COUNT <= EVNF_REASON_MAX);

enum evnf_fragment {
	EVNF_FRAGMENT_NONE,
	EVNF_FRAGMENT_FIRST, /* has the L4 header */
	EVNF_FRAGMENT_LATER, /* has no L4 header: ports, flags and ICMP type are 0 */
};

/*
 * A parsed packet: written by the entry, read by every stage, kept up to date
 * by a stage that rewrites addresses or ports. Offsets count from the start of
 * the frame.
 */
struct evnf_packet {
	union evnf_address src;
	union evnf_address dst;
	__be16 sport; /* 0 where the protocol has no ports, and in later fragments */
	__be16 dport;
	__u8 ip_version; /* 4 or 6; 0 for what is not IP */
	__u8 protocol;   /* IPPROTO_*, after IPv6 extension headers */
	__u8 tcp_flags;  /* low byte of the flags: FIN 0x01 … CWR 0x80 */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 ttl;        /* TTL or hop limit, as received */
	__u8 tos;        /* DSCP and ECN */
	__u8 fragment;   /* enum evnf_fragment */
	__u8 ip_options; /* IPv4 options or an IPv6 hop-by-hop header present */
	__u8 vlan_tags;  /* 0 to 2 */
	__u16 vlan[2];   /* VLAN ids, outer first; EVNF_NO_VLAN where there is none */
	__u16 l3_offset;
	__u16 l4_offset;
	__u16 payload_offset; /* after the L4 header; where the L4 header would be if there is none */
	__u16 l3_length;      /* IP header and payload in bytes, without padding of the frame */
	__u16 port;           /* index of the ingress port */
	__u32 frame_length;
	__u32 visited;        /* bit s: stage s saw the packet */
	__u8 verdict;         /* enum evnf_verdict, once decided */
	__u8 reason;          /* enum evnf_reason */
	__u8 decided_by;      /* stage that decided */
	__u8 self_test;       /* the daemon's probe of a new generation: goes through, untouched and uncounted */
	__u8 resumed;         /* came back from the kernel, which has routed it and decided what netfilter is asked */
	__u8 readdressed;     /* a stage gave it another destination */
	__u8 ordinal;         /* of the ingress port among those of its chain */
	__u8 bare;            /* leaves by an interface without link header: the frame begins with the IP header */
	__be32 fragment_id;   /* of a fragment: the same in all fragments of a packet */
	__u64 now;            /* jiffies at entry: the one clock read of a packet */
	__u64 note[EVNF_MAX_STAGES]; /* a stage's own remark for --replay; valid where visited says so */
};
EVNF_STATIC_ASSERT(sizeof(struct evnf_packet) == 88 + 8 * EVNF_MAX_STAGES);

/* What tells the fragments of one packet from those of others: evnf/fragment.bpf.h. */
struct evnf_fragment_key {
	union evnf_address src, dst;
	__be32 id;
	__u8 protocol; /* 0 in IPv6 */
	__u8 pad[3];
};
EVNF_STATIC_ASSERT(sizeof(struct evnf_fragment_key) == 40);

/* Where a program stands in its chain: .rodata.evnf, set by the daemon before loading. */
struct evnf_stage_config {
	__u32 stage;     /* own index in evnf_stages and in evnf_packet.note */
	__u32 next_slot; /* PROG_ARRAY slot of the stage after this one */
	__u32 last_slot; /* PROG_ARRAY slot of the chain's forwarder */
	__u32 port;      /* entry only: index of the port it serves */
	__u64 skip_mask; /* bit i: the stage in next_slot + i may be skipped when it is missing */
	__u32 wire;      /* forwarding.mode is wire */
	__u32 dry_run;   /* --replay and self-test: the forwarder decides without routing or sending */
	__u32 ordinal;   /* entry only: of the port among those of its chain */
	__u32 resume;    /* what a packet that leaves here carries, less its ordinal; 0: it cannot come back */
	__u32 orphan_drop; /* this stage drops while its slow path is dead */
	__u32 tap;       /* the chain gets copies of packets: they end in it */
};
EVNF_STATIC_ASSERT(sizeof(struct evnf_stage_config) == 48);

/*
 * What a packet carries through the kernel in tc_index, 16 bits: the slot of
 * its generation in evnf_generations and an index into that one's
 * evnf_reentries; or, as generation 0, one of these.
 */
enum {
	EVNF_RESUME_NOTHING = 0,
	EVNF_RESUME_DONE = 1,      /* has finished its chain, or never enters one */
	EVNF_RESUME_NEIGHBOUR = 2, /* metadata only: routed, but for the MAC address of the next hop */
	EVNF_RESUME_SHIFT = 10,
	EVNF_GENERATIONS = 64,
};
EVNF_STATIC_ASSERT(EVNF_MAX_REENTRIES == 1 << EVNF_RESUME_SHIFT);

/* Where a packet goes on: array evnf_reentries. */
struct evnf_reentry {
	__u32 slot; /* in evnf_tc_chain */
	__u16 port; /* that the packet came by */
	__u16 ordinal;
};
EVNF_STATIC_ASSERT(sizeof(struct evnf_reentry) == 8);

/* What a frame begins with at tc egress of an interface: hash evnf_links, by interface index. */
enum evnf_link {
	EVNF_LINK_ETHERNET, /* what has no entry */
	EVNF_LINK_BARE,     /* the IP header: tun, WireGuard, tunnels, PPP */
	EVNF_LINK_OTHER,    /* a header that the parser does not know */
};

/*
 * XDP metadata: what the XDP chain tells the tc programs of the same port. A
 * neighbour on a veth may send metadata of its own; the key, drawn at random
 * and wiped after use, tells ours from that.
 */
struct evnf_handover {
	__u64 key;    /* that of the array evnf_handover_key */
	__u32 egress; /* interface index, with EVNF_RESUME_NEIGHBOUR */
	__u16 word;   /* EVNF_RESUME_* */
	__u16 pad;
};
EVNF_STATIC_ASSERT(sizeof(struct evnf_handover) == 16);

/* How many records a stage may send to its slow path, on each CPU: rodata of a plugin (evnf_admit_event). */
struct evnf_event_limit {
	__u32 per_second;
	__u32 burst; /* at once, after a pause */
	__u32 jiffies_per_second;
};
EVNF_STATIC_ASSERT(sizeof(struct evnf_event_limit) == 12);

/* What the entry and the forwarder must know of a port; array evnf_port_configs, by port index. */
struct evnf_port_config {
	__u8 mac[6];    /* all zero: frames to any MAC address are taken */
	__u16 wire;     /* port index of the other end, or EVNF_NO_PORT */
	__u32 ifindex;
};
EVNF_STATIC_ASSERT(sizeof(struct evnf_port_config) == 12);

/* Per-CPU counters of a port: evnf_ports, by port index. */
struct evnf_port_counters {
	__u64 packets;
	__u64 bytes;
	__u64 verdicts[8]; /* by enum evnf_verdict */
};

/* Per-CPU counters of a stage: evnf_stages, by stage index. */
struct evnf_stage_counters {
	__u64 packets;     /* saw the stage */
	__u64 missed;      /* tail calls out of this stage that found no program */
	__u64 lost_events; /* records for the slow path that found no room in a ring */
	__u64 pad;
	__u64 drops[EVNF_REASON_MAX];
	__u64 kernel[EVNF_REASON_MAX]; /* left to the kernel, by reason */
};

/*
 * The kernel's routing as netlink last told: array evnf_routing, one element.
 * A next-hop cache entry is good while the generation is the one it was made
 * in, and for EVNF_NEXTHOP_JIFFIES at most: 0.25 s to 2.5 s whatever the
 * kernel's HZ, so that the cache stays right while the daemon is dead.
 */
struct evnf_routing {
	__u32 generation;
	__u32 cacheable; /* 0: routing depends on more than the destination; ask the FIB every time */
	__u32 vip_device; /* interface index of the device that VIPs are routed to; 0: none */
	__u32 strict;     /* every packet from a port carries a word now: drop what lost it */
};
enum { EVNF_NEXTHOP_JIFFIES = 250 };

/* A neighbour that the fast path sends to: key of evnf_neighbours; the value is jiffies of the last use. */
struct evnf_neighbour {
	union evnf_address address;
	__u32 ifindex;
	__u32 pad;
};
EVNF_STATIC_ASSERT(sizeof(struct evnf_neighbour) == 24);

/* What clock.bpf.c reports: both clocks at one instant. */
struct evnf_clock {
	__u64 jiffies;
	__u64 ktime_ns;
};

#endif
