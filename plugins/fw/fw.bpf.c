// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* fw: the first rule that a packet matches decides. */
#include <linux/if_ether.h>

#include "limit.bpf.h"
#include "log.bpf.h"
#include "reject.bpf.h"

EVNF_LICENSE;

/* In the order of the rules, the default last; the number is set before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_rule);
} fw_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FW_SLOTS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct fw_counters);
} fw_counters SEC(".maps");

/* User space's own: it rests here to outlive the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FW_SLOTS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct fw_rule_name);
} fw_rule_names SEC(".maps");

/* As the frame has it; 0, which no station has, where there is no Ethernet header. */
static __always_inline __u64 fw_source_mac(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	const struct ethhdr *eth = pkt->bare ? NULL : evnf_header(ctx, 0, sizeof(*eth));
	__u64 mac = 0;

	if (!eth)
		return 0;
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		mac = mac << 8 | eth->h_source[i];
	return mac;
}

static __always_inline void fw_count(const struct fw_rule *rule, const struct evnf_packet *pkt)
{
	__u32 slot = rule->slot;
	struct fw_counters *counters = bpf_map_lookup_elem(&fw_counters, &slot);

	if (!counters)
		return;
	counters->packets++;
	counters->bytes += pkt->frame_length;
	if (counters->last != pkt->now)
		counters->last = pkt->now;
}

static __always_inline int fw_act(evnf_ctx *ctx, const struct fw_rule *rule)
{
	switch (rule->action) {
	case FW_ALLOW:
		return EVNF_NEXT;
	case FW_NETFILTER:
		return evnf_kernel(rule->reason);
	case FW_REJECT:
		return fw_reject(ctx, rule->reason);
	default:
		return evnf_drop(rule->reason);
	}
}

EVNF_STAGE(fw, ctx, pkt)
{
	struct fw_search *search = fw_current_search();
	struct fw_connection *connection = NULL;
	struct fw_log_record *record;
	const struct fw_rule *rule;
	int decision;
	__u32 first;

	if (!search)
		return evnf_drop(EVNF_REASON_INTERNAL);
	fw_read_l4(ctx, pkt, &search->l4);
	if (fw_config.asks_state)
		connection = fw_track_packet(ctx, pkt, &search->l4, &search->track);
	first = fw_find_rule(search, pkt, fw_config.asks_mac ? fw_source_mac(ctx, pkt) : 0);
	rule = bpf_map_lookup_elem(&fw_rules, &first);
	if (!rule)
		return evnf_drop(first == FW_TOO_LONG ? EVNF_REASON_SEARCH_LIMIT : EVNF_REASON_INTERNAL);
	fw_count(rule, pkt);
	evnf_note(pkt, first + 1);
	if (fw_config.asks_state && (rule->action == FW_ALLOW || rule->action == FW_NETFILTER))
		fw_remember(ctx, pkt, &search->l4, &search->track, connection);
	record = fw_config.has_logs && rule->log ? fw_begin_log(ctx, pkt, rule) : NULL;
	decision = fw_act(ctx, rule);
	if (record)
		fw_end_log(record, decision);
	return decision;
}
