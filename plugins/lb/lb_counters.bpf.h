/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What each backend's traffic is counted by, both directions together. */
#pragma once

#include "evnf/stage.bpf.h"
#include "lb_shared.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LB_MAX_BACKENDS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct lb_counters);
} lb_counters SEC(".maps");

static __always_inline void lb_count(struct evnf_packet *pkt, __u32 backend)
{
	struct lb_counters *counters = bpf_map_lookup_elem(&lb_counters, &backend);

	if (counters) {
		counters->packets++;
		counters->bytes += pkt->frame_length;
	}
	evnf_note(pkt, backend + 1);
}
