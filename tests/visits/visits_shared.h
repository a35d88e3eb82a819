/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the programs of this test have in common: the label that every packet
 * carries at the start of its UDP payload, and the routes that packets take.
 *
 * UDP checksums are 0, so that stamping needs no checksum work. In IPv6 too:
 * routers do not look at them, and who receives here is told not to.
 */
#ifndef VISITS_SHARED_H
#define VISITS_SHARED_H

#include <linux/types.h>

#ifdef __cplusplus
#define VISITS_STATIC_ASSERT(condition) static_assert(condition, #condition)
#else
#define VISITS_STATIC_ASSERT(condition) _Static_assert(condition, #condition)
#endif

#define VISITS_MAGIC 0x73746973697624a7ULL

enum {
	VISITS_MAX_ROUTES = 32,
	VISITS_MAX_MARKS = 16,
	VISITS_SETS = 2, /* of marks: 1 to the number of stages, and as many above them */
};

struct visits_label {
	__u64 magic;
	__u64 number; /* of the packet, from 0, without gaps */
	__u8 route;
	__u8 count; /* of stamps; more than VISITS_MAX_MARKS when there was no room for all */
	__u8 marks[VISITS_MAX_MARKS];
} __attribute__((packed));
VISITS_STATIC_ASSERT(sizeof(struct visits_label) == 34);

/* Where the packets of a route go; all the rest of them is random. */
struct visits_route {
	__u8 to[16];      /* the first address; an IPv4 address is in the last 4 bytes */
	__u32 hosts;      /* addresses from there on, a power of 2 */
	__u16 port;       /* the first destination port */
	__u16 ports;      /* ports from there on */
	__u16 shortest;   /* IP length */
	__u16 longest;
	__u8 ip_version;
	__u8 dont_fragment;
	__u16 pad;
};
VISITS_STATIC_ASSERT(sizeof(struct visits_route) == 32);

/* What became of the packets of a route. */
struct visits_arrivals {
	__u64 packets;
	__u64 sets[VISITS_SETS]; /* stamped with the marks of this set, by each stage once and in order */
	__u64 wrong;      /* not so stamped, or by some of either set */
	__u64 duplicates; /* of a number that came before, or was never sent */
};

#endif
