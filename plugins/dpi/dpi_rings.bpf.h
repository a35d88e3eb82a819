/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The ways to the slow path: a ring for each worker. */
#pragma once

#include "dpi_maps.bpf.h"
#include "dpi_workers.h"

/* Those that have no worker get the least size. */
#define DPI_COPIES(worker)                                  \
	struct {                                            \
		__uint(type, BPF_MAP_TYPE_RINGBUF);         \
		__uint(max_entries, DPI_RING_BYTES);        \
		__uint(pinning, LIBBPF_PIN_BY_NAME);        \
	} dpi_copies_##worker SEC(".maps")

DPI_COPIES(0);
DPI_COPIES(1);
DPI_COPIES(2);
DPI_COPIES(3);
DPI_COPIES(4);
DPI_COPIES(5);
DPI_COPIES(6);
DPI_COPIES(7);

struct dpi_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DPI_RING_BYTES);
};

/* The rings by number; libbpf puts them in when it makes the map, so they must stand before it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, DPI_MAX_WORKERS);
	__type(key, __u32);
	__array(values, struct dpi_ring);
} dpi_rings SEC(".maps") = {
	.values = {
		(void *)&dpi_copies_0,
		(void *)&dpi_copies_1,
		(void *)&dpi_copies_2,
		(void *)&dpi_copies_3,
		(void *)&dpi_copies_4,
		(void *)&dpi_copies_5,
		(void *)&dpi_copies_6,
		(void *)&dpi_copies_7,
	},
};

/* What follows is user space's alone, and declared here to live as long as the flows. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DPI_MAX_WORKERS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct dpi_breadcrumb);
} dpi_breadcrumbs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct dpi_quarantine);
} dpi_quarantine SEC(".maps");

/* The ring of the worker that owns the flow. */
static __always_inline void *ring_of(const struct dpi_key *key)
{
	__u32 worker = dpi_config.workers > 1 ? dpi_worker_of(key, dpi_config.workers) : 0;

	return bpf_map_lookup_elem(&dpi_rings, &worker);
}
