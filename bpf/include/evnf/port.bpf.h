/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the programs at both ends of a chain know of ports and routing. */
#pragma once

#include "stage.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EVNF_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct evnf_port_config);
} evnf_port_configs SEC(".maps");

/* Interface index -> port index, of the interfaces that eVNF serves. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EVNF_MAX_PORTS);
	__type(key, __u32);
	__type(value, __u32);
} evnf_port_by_ifindex SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct evnf_routing);
} evnf_routing SEC(".maps");

static __always_inline const struct evnf_port_config *evnf_port_config(__u32 port)
{
	return bpf_map_lookup_elem(&evnf_port_configs, &port);
}

static __always_inline const struct evnf_routing *evnf_current_routing(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&evnf_routing, &zero);
}
