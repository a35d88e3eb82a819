/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The fast path's view of its slow path: whether it lives, and how much may be
 * sent to it. Part of stage.bpf.h; each of these costs a stage that does not
 * call it nothing.
 */
#pragma once

#include "stage.bpf.h"

/* Jiffies until which the slow path of a stage counts as alive, by stage index; the daemon puts them off. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EVNF_MAX_STAGES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} evnf_heartbeats SEC(".maps");

/* What a stage may still send, on this CPU. Full where nothing was sent yet. */
struct evnf_bucket {
	__u64 filled; /* jiffies */
	__u64 level;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVNF_MAX_STAGES);
	__type(key, __u32);
	__type(value, struct evnf_bucket);
} evnf_buckets SEC(".maps");

/* False when the daemon is dead, or this stage's slow path is stuck or in quarantine. */
static __always_inline bool evnf_slow_path_alive(const struct evnf_packet *pkt)
{
	__u32 stage = evnf_config.stage;
	__u64 *deadline = bpf_map_lookup_elem(&evnf_heartbeats, &stage);

	return deadline && (__s64)(*deadline - pkt->now) > 0;
}

/* `orphan: drop` and no slow path. */
static __always_inline bool evnf_is_orphaned(const struct evnf_packet *pkt)
{
	return evnf_config.orphan_drop && !evnf_slow_path_alive(pkt);
}

/*
 * One thing more of what `limit`, a plugin's rodata, bounds on each CPU? A token
 * bucket in whole numbers: a jiffy earns per_second, a token costs
 * jiffies_per_second.
 */
static __always_inline bool evnf_take_token(struct evnf_bucket *bucket, __u64 now,
					    const volatile struct evnf_event_limit *limit)
{
	__u64 full = (__u64)limit->burst * limit->jiffies_per_second;

	if (bucket->filled != now) {
		bucket->level += (now - bucket->filled) * limit->per_second;
		bucket->filled = now;
		if (bucket->level > full)
			bucket->level = full;
	}
	if (bucket->level < limit->jiffies_per_second)
		return false;
	bucket->level -= limit->jiffies_per_second;
	return true;
}

/*
 * May this stage send one more record to its slow path? What is refused is lost:
 * the caller counts it like a record that found no room in the ring.
 */
static __always_inline bool evnf_admit_event(const struct evnf_packet *pkt,
					     const volatile struct evnf_event_limit *limit)
{
	__u32 stage = evnf_config.stage;
	struct evnf_bucket *bucket = bpf_map_lookup_elem(&evnf_buckets, &stage);

	return bucket && evnf_take_token(bucket, pkt->now, limit);
}
