/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Condition limit: a rule matches only as often as its limit allows, and where
 * it may not, the search goes on with the rules after it.
 *
 * The generic cell rate algorithm (ITU-T I.371, virtual scheduling): all that is
 * kept is when the next packet would be due if all before had come at the
 * limit's own rate. One word, so CPUs agree by comparing and exchanging it.
 */
#pragma once

#include "modifiers.bpf.h"
#include "recent.bpf.h"

/* By a rule's index: what its limit says. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_limit);
} fw_limits SEC(".maps");

/* By a rule's slot, of limits per rule: when the next packet is due, in ns. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FW_SLOTS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} fw_rule_due SEC(".maps");

/* The same, of limits per source, destination or flow. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, struct fw_limited);
	__type(value, __u64);
} fw_due SEC(".maps");

/* A key under construction: in a map for the verifier's sake, as struct fw_search is. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_limited);
} fw_limited_keys SEC(".maps");

static __always_inline void fw_make_limited(struct fw_limited *key, const struct fw_limit *limit,
					    const struct evnf_packet *pkt)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->slot = limit->slot;
	if (limit->per != FW_PER_DST)
		key->src = pkt->src;
	if (limit->per != FW_PER_SRC)
		key->dst = pkt->dst;
	if (limit->per != FW_PER_FLOW)
		return;
	key->sport = pkt->sport;
	key->dport = pkt->dport;
	key->protocol = pkt->protocol;
}

/* False where the packet comes too early, or other CPUs were faster time and again: never more than the limit. */
static __always_inline bool fw_pass(__u64 *due, const struct fw_limit *limit, __u64 now)
{
	for (int i = 0; i < FW_EXCHANGES; i++) {
		__u64 seen = *(volatile __u64 *)due, from = seen;

		if ((__s64)(from - now) < 0)
			from = now;
		/* A slower limit's, which a reload has replaced; by a little, other CPUs may be ahead. */
		if ((__s64)(from - now) > (__s64)(2 * limit->window + FW_CLOCK_SLACK))
			from = now + limit->window - limit->interval;
		if (from + limit->interval - now > limit->window)
			return false;
		if (__sync_val_compare_and_swap(due, seen, from + limit->interval) == seen)
			return true;
	}
	return false;
}

/* The key's entry, made if need be; NULL where the table is full: then the packet is over the limit. */
static __always_inline __u64 *fw_find_due(const struct fw_limited *key, __u64 now)
{
	__u64 *due = bpf_map_lookup_elem(&fw_due, key);

	if (due)
		return due;
	bpf_map_update_elem(&fw_due, key, &now, BPF_NOEXIST);
	return bpf_map_lookup_elem(&fw_due, key);
}

static __always_inline bool fw_pass_keyed(const struct fw_limit *limit, const struct evnf_packet *pkt, __u64 now,
					  struct fw_modifier_counters *counters)
{
	__u32 zero = 0;
	struct fw_limited *key = bpf_map_lookup_elem(&fw_limited_keys, &zero);
	__u64 *due;

	if (!key)
		return false;
	fw_make_limited(key, limit, pkt);
	due = fw_find_due(key, now);
	if (!due)
		counters->limit_table_full++;
	return due && fw_pass(due, limit, now);
}

/*
 * Whether the limit of the rule, if it has one, allows the packet. This and the
 * next are global functions: the verifier follows them once and not in each turn
 * of the search, and no further than their begin where there are no limits.
 */
__noinline int fw_is_within_limit(__u32 rule)
{
	const struct evnf_packet *pkt = evnf_current_packet();
	const struct fw_limit *limit;
	struct fw_modifier_counters *counters;
	__u64 now, *due;
	__u32 slot;
	bool within;

	if (!fw_config.has_limits || !pkt)
		return false;
	limit = bpf_map_lookup_elem(&fw_limits, &rule);
	if (!limit || !limit->interval)
		return true;
	slot = limit->slot;
	counters = bpf_map_lookup_elem(&fw_modifier_counters, &slot);
	due = bpf_map_lookup_elem(&fw_rule_due, &slot);
	if (!counters || !due)
		return false;
	now = bpf_ktime_get_ns();
	within = limit->per == FW_PER_RULE ? fw_pass(due, limit, now) : fw_pass_keyed(limit, pkt, now, counters);
	if (!within)
		counters->over_limit++;
	return within;
}

/* fw_classify() for rules from `from` on. */
__noinline __u32 fw_classify_on(__u64 mac, __u32 from)
{
	const struct evnf_packet *pkt = evnf_current_packet();
	struct fw_search *search = fw_current_search();

	return fw_config.has_limits && pkt && search ? fw_classify(search, pkt, mac, from) : FW_NOTHING;
}

/*
 * The first rule that the packet matches, its limit included, as fw_classify()
 * tells it. A packet that is over the limits of more than a few rules is too
 * much to search for.
 */
static __always_inline __u32 fw_find_rule(struct fw_search *search, const struct evnf_packet *pkt, __u64 mac)
{
	__u32 rule = fw_classify_all(search, pkt, mac);

	if (!fw_config.has_limits)
		return rule;
	for (int i = 0; i < FW_MAX_OVER_LIMIT; i++) {
		if (rule >= fw_config.rules || fw_is_within_limit(rule))
			return rule;
		rule = fw_classify_on(mac, rule + 1);
	}
	return rule >= fw_config.rules || fw_is_within_limit(rule) ? rule : FW_TOO_LONG;
}
