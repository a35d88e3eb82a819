// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Reentry: where a packet comes back from the kernel into this generation. It
 * was routed, and changed by netfilter perhaps, so it is parsed anew.
 */
#include "evnf/parser.bpf.h"

EVNF_LICENSE;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EVNF_MAX_REENTRIES);
	__type(key, __u32);
	__type(value, struct evnf_reentry);
} evnf_reentries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} evnf_links SEC(".maps");

static __always_inline enum evnf_link link_of(evnf_ctx *ctx)
{
	__u32 ifindex = ctx->ifindex, *link = bpf_map_lookup_elem(&evnf_links, &ifindex);

	return link ? *link : EVNF_LINK_ETHERNET;
}

static __always_inline void begin(evnf_ctx *ctx, struct evnf_packet *pkt, const struct evnf_reentry *reentry)
{
	__u32 port = reentry->port;
	struct evnf_port_counters *counters = bpf_map_lookup_elem(&evnf_ports, &port);

	pkt->port = port;
	pkt->ordinal = reentry->ordinal;
	pkt->frame_length = evnf_frame_length(ctx);
	pkt->now = bpf_jiffies64();
	pkt->visited = 0;
	pkt->self_test = 0;
	pkt->resumed = 1;
	pkt->readdressed = 0;
	if (counters)
		counters->verdicts[EVNF_COUNT_RESUMED]++;
}

SEC(EVNF_SECTION) int evnf_reentry(evnf_ctx *ctx)
{
	struct evnf_packet *pkt = evnf_current_packet();
	__u32 index = ctx->tc_index & (EVNF_MAX_REENTRIES - 1);
	const struct evnf_reentry *reentry = bpf_map_lookup_elem(&evnf_reentries, &index);
	struct evnf_stage_counters *counters = evnf_counters();
	enum evnf_link link = link_of(ctx);
	int decision;

	ctx->tc_index = EVNF_RESUME_DONE;
	if (!pkt || !reentry || !counters)
		return EVNF_HOOK_DROP;
	begin(ctx, pkt, reentry);
	pkt->bare = link == EVNF_LINK_BARE;
	decision = link == EVNF_LINK_OTHER ? evnf_drop(EVNF_REASON_UNKNOWN_LINK) : evnf_parse(ctx, pkt);
	if (decision == EVNF_NEXT) {
		bpf_tail_call(ctx, &EVNF_CHAIN, reentry->slot);
		counters->missed++;
		decision = evnf_drop(EVNF_REASON_MISSED_TAIL_CALL);
	}
	evnf_record(pkt, decision);
	return EVNF_HOOK_DROP;
}
