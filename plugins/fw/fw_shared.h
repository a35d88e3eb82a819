/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What both paths of fw know: the tables in which the fast path finds the first
 * rule that a packet matches. They are those of a tuple space search, pruned by
 * bitmaps; README.md tells how it goes.
 */
#ifndef FW_SHARED_H
#define FW_SHARED_H

#include "connections_shared.h"
#include "sets_shared.h"

enum {
	FW_MAX_RULES = 16384,
	FW_SLOTS = 2 * FW_MAX_RULES, /* counters: rules of this generation and of those just replaced */
	FW_DEFAULT_SLOT = 0,
	FW_MAX_TUPLES = 2048, /* of a family */
	FW_WORDS = FW_MAX_TUPLES / 64,
	FW_MAX_GROUPS = 64,   /* of a side: long or negated lists of addresses */
	FW_WAYS = 8,          /* lists in a bucket */
	FW_BISECTIONS = 24,   /* of the points of a block, which are fewer than 2^24 */
	FW_MAX_STEPS = 4096,  /* looks into tuples and at entries that one packet may cost */
	FW_QUICK_STEPS = 16,  /* of these, so many without a call */
	FW_QUICK_WORDS = 8,   /* of rows, that a step goes on at most */
	FW_FEW = 8,           /* entries of a family that are tried one after the other */
	FW_RECENT = 4096,     /* answers that each CPU keeps, a power of 2 */
	FW_RECENT_GAIN = 4,   /* looks for one in vain that a look with success makes good, */
	FW_RECENT_CREDIT = 256, /* so many at most; */
	FW_RECENT_TRIAL = 64, /* those beyond that may be in vain before */
	FW_RECENT_PAUSE = 1024, /* so many packets go without */
	FW_NOTHING = 0xffffffff,
	FW_TOO_LONG = 0xfffffffe,
};

enum fw_family { FW_V4, FW_V6, FW_FAMILIES };
enum fw_side { FW_SRC, FW_DST, FW_SIDES };

/* The fields whose values have rows. */
enum fw_field { FW_ROW_SRC, FW_ROW_DST, FW_ROW_SPORT, FW_ROW_DPORT, FW_ROW_PROTOCOL, FW_FIELDS };

enum {
	FW_PORT_ROWS = 65536 + 1,
	FW_NO_PORT = FW_PORT_ROWS - 1, /* no TCP, UDP or SCTP header: other protocols, later fragments */
	FW_PROTOCOL_ROWS = 256,
	FW_BLOCKS = 65536, /* of a side and family: of IPv4 addresses by their upper half */
};

enum fw_action {
	FW_ALLOW,     /* on to the next stage */
	FW_DROP,
	FW_NETFILTER, /* leave the decision to the kernel's own firewall */
	FW_REJECT,    /* drop, and tell the sender */
};

/*
 * A bit a tuple: those that hold a rule which a value of one field satisfies.
 * Tuples are numbered by their first rule, so a lower bit means an earlier rule.
 */
struct fw_row {
	__u64 words; /* a bit for each of `tuples` that is not 0 */
	__u64 tuples[FW_WORDS];
};

/*
 * Addresses from `start` on, to the next point or the end of the block, are in
 * the same tuples and groups: they have the row of that index.
 */
struct fw_point {
	__u64 start[2]; /* host byte order, the upper half first; an IPv4 address is the second alone */
	__u32 row;
	__u32 pad;
};

/*
 * Addresses that are looked up together: of one row, or cut again into blocks, or
 * in the points from `first` on, the first of which starts where the block does.
 */
struct fw_block {
	__u32 first; /* the row where count is FW_WHOLE; where it is FW_NODE, of IPv4 a block, of IPv6 a span */
	__u32 count;
};
enum {
	FW_WHOLE = 0,
	FW_NODE = 0xffffffff,
	FW_NODE_BLOCKS = 256, /* that a block is cut into: of IPv4 by the next byte */
	FW_NESTED_SPANS = 3,
};

/* Blocks from `first` on, each of 2^shift upper halves of IPv6 addresses, from `base` on; what is before has the row `before`. */
struct fw_span6 {
	__u64 base;
	__u32 shift;
	__u32 before;
	__u32 first;
	__u32 pad;
};

/* Rows by port number, and by protocol. */
struct fw_port_rows {
	__u32 sport[FW_FAMILIES];
	__u32 dport[FW_FAMILIES];
};
struct fw_protocol_rows {
	__u32 row[FW_FAMILIES];
};

/*
 * What a packet's conditions are hashed as. l4: source port, destination port
 * and protocol; l2: source MAC address and outer VLAN id.
 */
struct fw_key {
	union evnf_address src;
	union evnf_address dst;
	__u64 l4; /* sport << 32 | dport << 16 | protocol, ports in host byte order */
	__u64 l2; /* the MAC address's bytes, first one highest, << 16 | VLAN id */
};
EVNF_STATIC_ASSERT(sizeof(struct fw_key) == 48);

/* Rules of one shape: how much of each part of the key they fix. */
struct fw_tuple {
	struct fw_key mask;
	__u64 seed; /* random: tells the keys of tuples apart */
	__u32 first_rule;
	__u32 pad;
};
EVNF_STATIC_ASSERT(sizeof(struct fw_tuple) == 64);

/*
 * A tuple's entries of one masked key are a list, found by the hash of tuple and key. Those of two hashes that the
 * bucket cannot tell apart are one list; IPv4 and IPv6 it tells apart.
 */
struct fw_bucket {
	__u64 tags;           /* a byte for each list, 0 where there is none */
	__u32 lists[FW_WAYS]; /* first entry */
};
EVNF_STATIC_ASSERT(FW_WAYS == sizeof(__u64));

/* Which members of an entry are conditions, beside the addresses' masks. */
enum fw_condition {
	FW_IF_PROTOCOL = 1 << 0,
	FW_IF_PORTS = 1 << 1,
	FW_IF_FLAGS = 1 << 2,
	FW_IF_ICMP_TYPE = 1 << 3,
	FW_IF_ICMP_CODE = 1 << 4,
	FW_IF_VLAN = 1 << 5,
	FW_IF_INNER_VLAN = 1 << 6,
	FW_IF_IN_PORT = 1 << 7,
	FW_IF_DSCP = 1 << 8,
	FW_IF_FRAGMENT = 1 << 9,
	FW_IF_MAC = 1 << 10,
	FW_IF_SRC_GROUP = 1 << 11,
	FW_IF_DST_GROUP = 1 << 12,
	FW_SRC_NOT_IN_GROUP = 1 << 13,
	FW_DST_NOT_IN_GROUP = 1 << 14,
	FW_LAST = 1 << 15, /* of its list */
	FW_IF_STATE = 1 << 16,
	FW_IF_SRC_SETS = 1 << 17,
	FW_IF_DST_SETS = 1 << 18,
	FW_SRC_NOT_IN_SETS = 1 << 19, /* in none of them */
	FW_DST_NOT_IN_SETS = 1 << 20,
};

/* A rule, or one of those that it stands for: lists and ranges are several. Complete: hashes only lead to it. */
struct fw_entry {
	union evnf_address src, src_mask;
	union evnf_address dst, dst_mask;
	__u64 in_ports; /* a bit for each port's index */
	__u64 dscps;    /* a bit for each DSCP */
	__u64 mac;      /* as in fw_key.l2, without VLAN */
	__u64 src_sets, dst_sets; /* a bit for each set: the address is in one of them at least */
	__u32 conditions;
	__u32 rule; /* index in fw_rules */
	__u16 sport_first, sport_last;
	__u16 dport_first, dport_last;
	__u16 vlan, inner_vlan;
	__u8 protocol;
	__u8 flags_mask, flags; /* TCP */
	__u8 icmp_type, icmp_code;
	__u8 fragments; /* a bit for each enum evnf_fragment */
	__u8 src_group, dst_group;
	__u8 states; /* a bit for each enum fw_state */
	__u8 pad[3];
};
EVNF_STATIC_ASSERT(sizeof(struct fw_entry) == 136);

/* What rules may ask about a packet, and the key does not hold. */
union fw_traits {
	struct {
		__u16 inner_vlan;
		__u8 in_port;
		__u8 dscp;
		__u8 tcp_flags;
		__u8 icmp_type, icmp_code;
		__u8 others; /* from the lowest bit on: enum fw_family, whether L4 is known, and 3 bits each of enum evnf_fragment and enum fw_state */
	};
	__u64 all;
};

enum fw_answer { FW_NO_ANSWER, FW_ANSWER, FW_ANSWER_OF_SETS };

/* The rule that a packet of these headers met. */
struct fw_recent {
	struct fw_key key;
	union fw_traits traits;
	__u32 rule;
	__u32 answer; /* enum fw_answer, or from FW_ANSWER_OF_SETS on how often sets had changed when they were asked */
};
EVNF_STATIC_ASSERT(sizeof(struct fw_recent) == 64);

/* Read-only data: what the verifier may rely on, so that it removes the look-ups that nobody needs. */
struct fw_config {
	__u32 rules;                     /* how many; the default's index in fw_rules */
	__u32 bucket_mask;               /* number of buckets, a power of 2, less 1 */
	__u32 first_tuple[FW_FAMILIES];  /* in fw_tuples */
	__u32 first_rules[FW_FAMILIES][FW_WORDS]; /* by word of rows: the earliest rule in its tuples and in those behind */
	__u32 asks_address[FW_FAMILIES]; /* a bit for each enum fw_side that rules ask for */
	struct fw_span6 spans6[FW_SIDES];
	__u32 few;                       /* the entries are so few that they are tried one after the other, */
	__u32 few_first[FW_FAMILIES];    /* from these on, */
	__u32 few_count[FW_FAMILIES];    /* and no other table is there */
	union fw_traits asked_traits;    /* the bits that some rule asks about */
	__u32 asks_mac;
	__u32 asks_ports;
	__u32 asks_state;
	__u32 loose;                     /* a TCP connection may begin with any segment */
	__u32 timeouts[FW_PHASES];       /* jiffies, by enum fw_phase */
	__u32 has_limits;
	__u32 has_logs;
	__u32 has_rejects;
};

/* Array fw_rules, in the order of the rules; the default comes last. */
struct fw_rule {
	__u32 slot;   /* in fw_counters */
	__u8 action;  /* enum fw_action */
	__u8 reason;  /* enum evnf_reason of a packet that ends here */
	__u8 log;     /* 1: its packets are told of in fw_log */
	__u8 pad;
};
EVNF_STATIC_ASSERT(sizeof(struct fw_rule) == 8);

/* State, per CPU and by slot: what matched a rule since the rule's name first appeared. */
struct fw_counters {
	__u64 packets;
	__u64 bytes; /* whole frames */
	__u64 last;  /* jiffies of the last one; 0: there was none */
};

/* State, by slot: whose counters they are. */
struct fw_rule_name {
	char text[64];
};

/* Answers to rejected packets: of each CPU a second, and at once after a pause. */
enum { FW_REJECTS_PER_SECOND = 1000, FW_REJECTS_BURST = 1000 };

enum {
	FW_MAX_OVER_LIMIT = 4, /* rules in turn whose limit a packet may be over */
	FW_EXCHANGES = 8,      /* tries of a CPU to be the one that spends */
	FW_CLOCK_SLACK = 1000000000, /* ns */
};

/* What has a limit of its own: all packets of the rule, or those of one source, destination or flow. */
enum fw_per { FW_PER_RULE, FW_PER_SRC, FW_PER_DST, FW_PER_FLOW };

/* Array fw_limits, in the order of the rules. */
struct fw_limit {
	__u64 interval; /* ns between packets at the limit's rate; 0 where the rule has no limit */
	__u64 window;   /* ns that may be spent ahead: the burst's worth */
	__u32 slot;     /* of the rule, as in fw_rule */
	__u32 per;      /* enum fw_per */
};
EVNF_STATIC_ASSERT(sizeof(struct fw_limit) == 24);

/* State, key of fw_due: what is not of the limit's kind is 0. */
struct fw_limited {
	union evnf_address src, dst;
	__u32 slot;
	__be16 sport, dport;
	__u8 protocol;
	__u8 pad[7];
};
EVNF_STATIC_ASSERT(sizeof(struct fw_limited) == 48);

/* State, per CPU and by slot: what a rule's modifiers did, since the rule's name first appeared. */
struct fw_modifier_counters {
	__u64 over_limit;       /* packets that the rule did not match for its limit, */
	__u64 limit_table_full; /* those included for which fw_due had no room */
	__u64 log_suppressed;   /* packets whose record was not sent to the slow path, that is not to be flooded */
	__u64 pad;
};
EVNF_STATIC_ASSERT(sizeof(struct fw_modifier_counters) == 32);

enum {
	FW_LOG_BYTES = 4 << 20,
	FW_LOG_FRAME = 128,
	FW_LOGS_PER_SECOND = 1000, /* records of each CPU a second, and at once after a pause */
	FW_LOGS_BURST = 1000,
};

/* A packet as a rule with `log` found it, and what became of it: a record of the ring fw_log. */
struct fw_log_record {
	union evnf_address src, dst;
	__u64 now;      /* jiffies */
	__u32 slot;     /* of the rule */
	__u32 length;   /* of the frame */
	__u32 captured; /* bytes of it in `frame` */
	__be16 sport, dport;
	__u16 vlan[2];
	__u16 port;     /* index of the ingress port */
	__u8 ip_version;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 icmp_type, icmp_code;
	__u8 fragment;  /* enum evnf_fragment */
	__u8 action;    /* enum fw_action */
	__u8 verdict;   /* enum evnf_verdict */
	__u8 reason;    /* enum evnf_reason */
	__u8 pad[5];
	__u8 frame[FW_LOG_FRAME];
};
EVNF_STATIC_ASSERT(sizeof(struct fw_log_record) == 80 + FW_LOG_FRAME);

/*
 * Of the key's bits that the tuple's mask has: bucket in the lower half, tag in
 * the upper one. The products do not wait for one another, and nothing branches
 * on what the packet holds. The upper halves of IPv4 addresses are 0.
 */
static inline __attribute__((always_inline)) __u64 fw_hash(const struct fw_key *key, const struct fw_tuple *tuple,
							    enum fw_family family)
{
	const struct fw_key *mask = &tuple->mask;
	__u64 hash = tuple->seed;

	if (family == FW_V6) {
		hash += (key->src.halves[0] & mask->src.halves[0]) * 0x9e3779b97f4a7c15ULL;
		hash += (key->dst.halves[0] & mask->dst.halves[0]) * 0xd6e8feb86659fd93ULL;
	}
	hash += (key->src.halves[1] & mask->src.halves[1]) * 0xc2b2ae3d27d4eb4fULL;
	hash += (key->dst.halves[1] & mask->dst.halves[1]) * 0xa0761d6478bd642fULL;
	hash += (key->l4 & mask->l4) * 0xe7037ed1a0b428dbULL;
	hash += (key->l2 & mask->l2) * 0x8ebc6af09c88c6e3ULL;
	hash = (hash ^ hash >> 32) * 0x9fb21c651e98df25ULL;
	return hash ^ hash >> 32;
}

static inline __attribute__((always_inline)) __u8 fw_tag(__u64 hash, enum fw_family family)
{
	return 0x80 | family << 6 | hash >> 58;
}

/* The list of that tag's hashes, or FW_NOTHING: all tags are compared at once. */
static inline __attribute__((always_inline)) __u32 fw_list_in(const struct fw_bucket *bucket, __u8 tag)
{
	const __u64 ones = 0x0101010101010101ULL;
	__u64 differences = bucket->tags ^ ones * tag;
	__u64 equal = (differences - ones) & ~differences & ones << 7; /* the lowest bit is right, and is all that counts */

	if (!equal)
		return FW_NOTHING;
	/* The number of the byte that has the lowest bit. */
	return bucket->lists[((equal & -equal) >> 7) * 0x0001020304050607ULL >> 56 & (FW_WAYS - 1)];
}

#endif
