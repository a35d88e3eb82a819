// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A stage with state. */
#include <evnf/stage.bpf.h>

EVNF_LICENSE;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} counted SEC(".maps");

EVNF_STAGE(counting, ctx, pkt)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counted, &zero) ? EVNF_NEXT : EVNF_NEXT;
}
