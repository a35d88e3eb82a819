/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which sets hold an address of the packet. It is asked when a rule needs it, and remembered for the rules after it. */
#pragma once

#include "search.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, FW_SET_CHANGES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct fw_set_change);
	__type(value, __u32); /* enum fw_set_change_kind */
} fw_set_changes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FW_SET_NAMES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct fw_rule_name);
} fw_set_names SEC(".maps");

FW_TABLE(fw_set_roots, struct fw_set_roots);
FW_TABLE(fw_set_pages, struct fw_set_page);
FW_TABLE(fw_set_records, struct fw_set_record);

/* Cells change under the reader; each is read once. What they lead to was written before. */
static __always_inline __u32 fw_read_cell(const __u32 *cell)
{
	return *(const volatile __u32 *)cell;
}

static __always_inline bool fw_has_bits(const struct fw_set_record *record, __u64 high, __u64 low)
{
	__u32 length = record->length;
	__u64 high_mask = length >= 64 ? ~0ULL : ~(~0ULL >> (length & 63));
	__u64 low_mask = length <= 64 ? 0 : ~0ULL << (-length & 63);

	return !(((high ^ record->address[0]) & high_mask) | ((low ^ record->address[1]) & low_mask));
}

/* 1: the set holds the packet's address of that side. */
__noinline int fw_is_in_set(__u32 set, __u32 side)
{
	struct fw_search *search = fw_current_search();
	const struct fw_set_roots *roots = bpf_map_lookup_elem(&fw_set_roots, &set);
	__u32 cell, depth;
	__u64 high, low;

	if (!search || !roots)
		return 0;
	high = bpf_be64_to_cpu(side == FW_SRC ? search->key.src.halves[0] : search->key.dst.halves[0]);
	low = bpf_be64_to_cpu(side == FW_SRC ? search->key.src.halves[1] : search->key.dst.halves[1]);
	cell = fw_read_cell(search->family == FW_V4 ? &roots->cell[FW_V4] : &roots->cell[FW_V6]);
	depth = search->family == FW_V4 ? 96 : 0;
	for (int i = 0; i < FW_SET_STEPS; i++) {
		if (cell <= FW_CELL_ALL)
			return cell;
		if (cell & FW_CELL_RECORD) {
			__u32 index = cell & ~FW_CELL_RECORD;
			const struct fw_set_record *record = bpf_map_lookup_elem(&fw_set_records, &index);

			if (!record || !fw_has_bits(record, high, low))
				return 0;
			depth = record->length;
			cell = fw_read_cell(&record->next);
		} else {
			const struct fw_set_page *page = bpf_map_lookup_elem(&fw_set_pages, &cell);
			__u64 bits = depth & 64 ? low : high;

			if (!page)
				return 0;
			cell = fw_read_cell(&page->cells[bits >> (60 - (depth & 60)) & (FW_SET_FANOUT - 1)]);
			depth += 4;
		}
	}
	return 0;
}

/* 1: one of the sets at least holds the packet's address of that side. */
__noinline int fw_is_in_sets(__u64 sets, __u32 side)
{
	struct fw_search *search = fw_current_search();
	struct fw_sets_seen *seen;

	if (!search)
		return 0;
	seen = &search->sets[side & 1];
	for (int i = 0; i < FW_MAX_SETS; i++) {
		__u64 unknown = sets & ~seen->known;
		__u32 set;

		if (seen->in & sets)
			return 1;
		if (!unknown)
			return 0;
		set = fw_lowest(unknown);
		seen->known |= 1ULL << set;
		if (fw_is_in_set(set, side))
			seen->in |= 1ULL << set;
	}
	return !!(seen->in & sets);
}

static __always_inline bool fw_meets_sets(const struct fw_entry *entry, const struct fw_search *search, enum fw_side side)
{
	const struct fw_sets_seen *seen = &search->sets[side];
	__u64 sets = side == FW_SRC ? entry->src_sets : entry->dst_sets;
	bool negated = entry->conditions & (side == FW_SRC ? FW_SRC_NOT_IN_SETS : FW_DST_NOT_IN_SETS);

	if (seen->in & sets)
		return !negated;
	return (sets & ~seen->known ? fw_is_in_sets(sets, side) : 0) != negated;
}
