/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Named sets of prefixes, as both paths of fw know them. The prefixes of a set and
 * family are a tree of pages by 4 bits of the address each, in arrays that user
 * space changes while packets read them: what is new is written first, and one
 * aligned store to a cell that packets can reach then publishes it. What was
 * taken out is not used again before all packets that may still be at it are done.
 */
#ifndef FW_SETS_SHARED_H
#define FW_SETS_SHARED_H

enum {
	FW_MAX_SETS = 64,       /* that rules ask for: a bit each */
	FW_SET_NAMES = 1024,    /* that changes are kept of */
	FW_SET_CHANGES = 1 << 20,
	FW_SET_STEPS = 72,      /* cells that a look-up may meet: a record and a page for each 4 bits of 128, and an end */
	FW_SET_FANOUT = 16,
};

/* What a cell says of the addresses that lead to it. Anything else is the index of a page that says it of their next 4 bits. */
enum {
	FW_CELL_NONE = 0,
	FW_CELL_ALL = 1,
	FW_CELL_RECORD = 0x80000000, /* with the index of a record */
};

struct fw_set_page {
	__u32 cells[FW_SET_FANOUT];
};

/* Addresses with these first bits go on to `next`, others are not in the set. So pages are only where prefixes part. */
struct fw_set_record {
	__u64 address[2]; /* host byte order, the upper half first */
	__u32 next;       /* a cell; where it is a page, length is a multiple of 4 */
	__u32 length;     /* in bits of the mapped form */
};
EVNF_STATIC_ASSERT(sizeof(struct fw_set_record) == 24);

/* Of each set that rules ask for, the cells that all addresses begin at. */
struct fw_set_roots {
	__u32 cell[2]; /* by enum fw_family */
};

/* State: what was changed of sets beside the configuration. The slot is of the set's name in fw_set_names. */
struct fw_set_change {
	union evnf_address address;
	__u32 slot;
	__u32 length; /* in bits of the mapped form */
};
enum fw_set_change_kind { FW_SET_ADDED = 1, FW_SET_DELETED };

#endif
