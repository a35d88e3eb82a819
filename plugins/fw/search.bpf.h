/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* A search for the first rule that a packet matches, as its parts share it. */
#pragma once

#include "connections.bpf.h"

/* Mapped into memory by user space, which fills them in one go; the size is set before loading. */
#define FW_TABLE(name, row)                                                                        \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, row);                                                                \
	} name SEC(".maps")

/* How far a search has come. */
struct fw_place {
	__u64 words; /* of the rows: a bit for each that is still to be looked at */
	__u64 bits;  /* tuples of the present word that are still to be looked into */
	__u32 word;
	__u32 entry; /* to be looked at next, or FW_NOTHING */
	__u32 best;  /* the first rule found so far */
};

/* Which sets were asked about an address, and which of them hold it: a bit each. */
struct fw_sets_seen {
	__u64 known, in;
};

/*
 * A search under way. It is in a map and not on the stack, since the verifier
 * would tell apart all that may stand there, and follow each.
 */
struct fw_search {
	struct fw_l4 l4;
	struct fw_track track;
	struct fw_key key;
	struct fw_sets_seen sets[FW_SIDES];
	struct fw_place place;
	__u32 rows[FW_FIELDS];
	__u32 family;
	__u32 from;  /* rules before this one are not looked for */
	__u32 has_ports;
	__u32 has_icmp;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_search);
} fw_searches SEC(".maps");

static __always_inline struct fw_search *fw_current_search(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fw_searches, &zero);
}

/* Number of the lowest bit, hidden from the compiler, which knows what the verifier does not: that it is below 64. */
static __always_inline __u32 fw_lowest(__u64 bits)
{
	__u32 bit = __builtin_ctzll(bits);

	asm volatile("" : "+r"(bit));
	return bit & 63;
}
