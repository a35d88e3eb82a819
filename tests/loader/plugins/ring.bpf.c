// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A stage that sends a record for every packet to its slow path, which has to look for it. */
#include <evnf/stage.bpf.h>

EVNF_LICENSE;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} records SEC(".maps");

EVNF_STAGE(ring, ctx, pkt)
{
	__u64 now = pkt->now;

	if (bpf_ringbuf_output(&records, &now, sizeof(now), BPF_RB_NO_WAKEUP))
		evnf_count_lost_event();
	return EVNF_NEXT;
}
