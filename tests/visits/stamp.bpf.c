// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* stamp: writes its mark into each labelled packet, and counts it under the packet's route. */
#include <evnf/stage.bpf.h>

#include <linux/in.h>
#include <stddef.h>

#include "visits_shared.h"

EVNF_LICENSE;

const volatile __u8 mark = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VISITS_MAX_ROUTES);
	__type(key, __u32);
	__type(value, __u64);
} stamp_visits SEC(".maps");

static __always_inline void count(__u32 route)
{
	__u64 *visits = bpf_map_lookup_elem(&stamp_visits, &route);

	if (visits)
		++*visits;
}

EVNF_STAGE(stamp, ctx, pkt)
{
	struct visits_label *label = evnf_header(ctx, pkt->payload_offset, sizeof(*label));
	__u32 index;
	__u8 *place;

	if (!label || label->magic != VISITS_MAGIC || pkt->protocol != IPPROTO_UDP ||
	    pkt->fragment == EVNF_FRAGMENT_LATER)
		return EVNF_NEXT;
	count(label->route);
	index = label->count++;
	if (index >= VISITS_MAX_MARKS)
		return EVNF_NEXT;
	place = evnf_header(ctx, pkt->payload_offset + offsetof(struct visits_label, marks) + index, 1);
	if (place)
		*place = mark;
	return EVNF_NEXT;
}
