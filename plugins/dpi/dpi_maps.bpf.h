/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps of dpi. What is pinned is state. */
#pragma once

#include "evnf/stage.bpf.h"

#include "dpi_shared.h"

const volatile struct dpi_config dpi_config = {};

/* Sized by the slow path, which reads and writes it as memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct dpi_set);
} dpi_table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct dpi_hash_key);
} dpi_hash_key SEC(".maps");

/* The latest id of a flow. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} dpi_ids SEC(".maps");

/* Names for the numbers in verdicts: user space's alone, and declared here to live as long as the flows. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DPI_MAX_APPS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct dpi_app);
} dpi_apps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DPI_MAX_APPS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct dpi_totals);
} dpi_totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct dpi_faults);
} dpi_faults SEC(".maps");

/* User space's alone, as dpi_apps is. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct dpi_tally);
} dpi_tally SEC(".maps");

static __always_inline struct dpi_faults *dpi_fault_counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dpi_faults, &zero);
}

static __always_inline bool dpi_has_payload(const struct evnf_packet *pkt)
{
	return pkt->payload_offset < pkt->l3_offset + pkt->l3_length;
}

static __always_inline bool dpi_is_tcp(const struct evnf_packet *pkt)
{
	return pkt->protocol == IPPROTO_TCP && pkt->fragment != EVNF_FRAGMENT_LATER;
}
