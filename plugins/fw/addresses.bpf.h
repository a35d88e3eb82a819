/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The rows of a packet's addresses. */
#pragma once

#include "search.bpf.h"

FW_TABLE(fw_blocks4, struct fw_block); /* by side and upper half of the address; after them, by the third and fourth byte */
FW_TABLE(fw_blocks6, struct fw_block); /* by side and distance from the span's base; after them, those of other spans */
FW_TABLE(fw_spans6, struct fw_span6);  /* in blocks */
FW_TABLE(fw_points, struct fw_point);

static __always_inline bool fw_is_from(const struct fw_point *point, __u64 high, __u64 low)
{
	return point->start[0] < high || (point->start[0] == high && point->start[1] <= low);
}

/* The row of the last point in the block that is not after the address. */
static __always_inline __u32 fw_row_in(const struct fw_block *block, __u64 high, __u64 low)
{
	__u32 first = block->first, count = block->count, row = first;

	for (int i = 0; i < FW_BISECTIONS && count; i++) {
		__u32 middle = first + count / 2;
		const struct fw_point *point = bpf_map_lookup_elem(&fw_points, &middle);

		if (!point)
			return FW_NOTHING;
		if (fw_is_from(point, high, low)) {
			row = point->row;
			first = middle + 1;
			count -= count / 2 + 1;
		} else {
			count /= 2;
		}
	}
	return count ? FW_NOTHING : row;
}

static __always_inline bool fw_asks(enum fw_family family, enum fw_side side)
{
	return fw_config.asks_address[family] >> side & 1;
}

static __always_inline const struct fw_block *fw_block4(enum fw_side side, __u32 address)
{
	__u32 slot = side * FW_BLOCKS + (address >> 16);
	const struct fw_block *block = bpf_map_lookup_elem(&fw_blocks4, &slot);

#pragma unroll
	for (int shift = 8; shift >= 0; shift -= 8) {
		if (!block || block->count != FW_NODE)
			return block;
		slot = block->first + (address >> shift & 0xff);
		block = bpf_map_lookup_elem(&fw_blocks4, &slot);
	}
	return block;
}

static __always_inline __u32 fw_row4(enum fw_side side, __u32 address)
{
	const struct fw_block *block = fw_block4(side, address);

	return block ? fw_row_in(block, 0, address) : FW_NOTHING;
}

static __always_inline __u32 fw_row6(enum fw_side side, __u64 high, __u64 low)
{
	struct fw_span6 span = {
		.base = fw_config.spans6[side].base,
		.shift = fw_config.spans6[side].shift,
		.before = fw_config.spans6[side].before,
		.first = fw_config.spans6[side].first,
	};
	const struct fw_span6 *nested;
	const struct fw_block *block;
	__u32 slot, count = FW_BLOCKS;
	__u64 distance;

#pragma unroll
	for (int depth = 0; depth <= FW_NESTED_SPANS; depth++) {
		if (high < span.base)
			return span.before;
		distance = (high - span.base) >> (span.shift & 63);
		slot = span.first + (distance < count ? distance : count - 1);
		block = bpf_map_lookup_elem(&fw_blocks6, &slot);
		if (!block)
			return FW_NOTHING;
		if (block->count != FW_NODE)
			break;
		nested = bpf_map_lookup_elem(&fw_spans6, &block->first);
		if (!nested)
			return FW_NOTHING;
		span = *nested;
		count = FW_NODE_BLOCKS;
	}
	return fw_row_in(block, high, low);
}

static __always_inline void fw_find_address(struct fw_search *search, enum fw_side side,
					    const union evnf_address *address)
{
	enum fw_field field = side == FW_SRC ? FW_ROW_SRC : FW_ROW_DST;

	if (search->family == FW_V4) {
		if (fw_asks(FW_V4, side))
			search->rows[field] = fw_row4(side, bpf_ntohl(address->words[3]));
	} else {
		if (fw_asks(FW_V6, side))
			search->rows[field] = fw_row6(side, bpf_be64_to_cpu(address->halves[0]), bpf_be64_to_cpu(address->halves[1]));
	}
}
