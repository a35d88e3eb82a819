/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The VIPs, for packets that have no ports. */
#pragma once

#include "evnf/stage.bpf.h"
#include "lb_shared.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LB_MAX_SERVICES);
	__type(key, union evnf_address);
	__type(value, __u32);
} lb_vips SEC(".maps");

static __always_inline bool lb_is_vip(const union evnf_address *address)
{
	return bpf_map_lookup_elem(&lb_vips, address);
}
