/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The ways of a set: a table of sets of EVNF_WAYS places, each with a tag of one
 * byte. The tags of a set are one word, whose last byte is not a way's.
 */
#pragma once

#include <linux/types.h>

#include <bpf/bpf_helpers.h>

enum { EVNF_WAYS = 7 };

/* A bit for each way whose tag is this one, at its lowest byte's highest bit; now and then for another way, too. */
static __always_inline __u64 evnf_ways_with(__u64 tags, __u8 tag)
{
	__u64 differ = tags ^ tag * 0x0101010101010101ull;

	return (differ - 0x0101010101010101ull) & ~differ & 0x0080808080808080ull;
}

/* The first of those ways: EVNF_WAYS and more where there is none. */
static __always_inline __u32 evnf_first_way(__u64 ways)
{
	__u64 below = ((ways & -ways) >> 7) - 1; /* a whole byte for each way before */

	return (below & 0x0101010101010101ull) * 0x0101010101010101ull >> 56;
}

static __always_inline __u32 evnf_way_from(__u32 home, __u32 steps)
{
	__u32 way = home + steps;

	if (way >= EVNF_WAYS)
		way -= EVNF_WAYS;
	barrier_var(way); /* the compiler knows the bound and would leave it out, the verifier does not */
	return way & 7;
}
