/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Which worker inspects a flow, and what is kept of a worker for the case that it dies. */
#ifndef DPI_WORKERS_H
#define DPI_WORKERS_H

#include "dpi_shared.h"

enum {
	DPI_MAX_WORKERS = 8, /* rings dpi_copies_0 to dpi_copies_7 */
	DPI_QUARANTINE = 63,
};

/* Both directions of a flow have one key, and so one worker. */
static inline __u32 dpi_worker_of(const struct dpi_key *key, __u32 workers)
{
	__u64 words[sizeof(*key) / sizeof(__u64)], hash = 0;
	__u32 i;

	__builtin_memcpy(words, key, sizeof(words));
	for (i = 0; i < sizeof(*key) / sizeof(__u64); i++) {
		hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 32;
	}
	return (hash >> 32) * workers >> 32;
}

/*
 * What a worker is inspecting at this moment: array dpi_breadcrumbs, by worker.
 * A process that finds one when it starts knows what its predecessor died of.
 */
struct dpi_breadcrumb {
	__u64 id;    /* of the flow; 0: none. Written last, and cleared first */
	__u64 since; /* when the packet came; jiffies */
	struct dpi_key key;
};
EVNF_STATIC_ASSERT(sizeof(struct dpi_breadcrumb) == 64);

/* Flows that are never inspected again: array dpi_quarantine, one element. */
struct dpi_quarantine {
	__u64 flows;               /* so many ever */
	__u64 ids[DPI_QUARANTINE]; /* the last ones: number n in element n % DPI_QUARANTINE */
};

#endif
