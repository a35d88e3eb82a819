/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Modifier log: a record of the packet, as it was before its rule acted on it,
 * and of what became of it. Sampled: the slow path gets no more than it can
 * take, and what it does not get is counted at the rule.
 */
#pragma once

#include <evnf/stage.bpf.h>

#include "modifiers.bpf.h"

const volatile struct evnf_event_limit fw_log_limit = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, FW_LOG_BYTES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} fw_log SEC(".maps");

/*
 * A record under way. Reserved in the ring, it would be a reference, and the
 * verifier of 6.1 loses track of those in a test for NULL that comes later.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_log_record);
} fw_log_records SEC(".maps");

static __always_inline void fw_take_frame(evnf_ctx *ctx, const struct evnf_packet *pkt, struct fw_log_record *record)
{
	__u32 length = pkt->frame_length, last;

	if (length > FW_LOG_FRAME)
		length = FW_LOG_FRAME;
	/* Shows the verifier of 6.1 that the length is one more than what fits. */
	last = length - 1;
	barrier_var(last);
	record->captured = last < FW_LOG_FRAME && !evnf_load_bytes(ctx, 0, record->frame, last + 1) ? length : 0;
}

static __always_inline void fw_describe(struct fw_log_record *record, const struct evnf_packet *pkt,
					const struct fw_rule *rule)
{
	record->src = pkt->src;
	record->dst = pkt->dst;
	record->now = pkt->now;
	record->slot = rule->slot;
	record->length = pkt->frame_length;
	record->sport = pkt->sport;
	record->dport = pkt->dport;
	record->vlan[0] = pkt->vlan[0];
	record->vlan[1] = pkt->vlan[1];
	record->port = pkt->port;
	record->ip_version = pkt->ip_version;
	record->protocol = pkt->protocol;
	record->tcp_flags = pkt->tcp_flags;
	record->icmp_type = pkt->icmp_type;
	record->icmp_code = pkt->icmp_code;
	record->fragment = pkt->fragment;
	record->action = rule->action;
}

static __always_inline void fw_count_unlogged(const struct fw_rule *rule)
{
	__u32 slot = rule->slot;
	struct fw_modifier_counters *counters = bpf_map_lookup_elem(&fw_modifier_counters, &slot);

	if (counters)
		counters->log_suppressed++;
}

/* A record that fw_end_log() is to be given, or NULL: then there is none of this packet. */
static __always_inline struct fw_log_record *fw_begin_log(evnf_ctx *ctx, const struct evnf_packet *pkt,
							  const struct fw_rule *rule)
{
	__u32 zero = 0;
	struct fw_log_record *record = bpf_map_lookup_elem(&fw_log_records, &zero);

	if (!evnf_slow_path_alive(pkt) || !evnf_admit_event(pkt, &fw_log_limit)) {
		fw_count_unlogged(rule);
		return NULL;
	}
	if (!record)
		return NULL;
	fw_describe(record, pkt, rule);
	fw_take_frame(ctx, pkt, record);
	return record;
}

/* The reader polls, so it is not told of each record, but of many. */
static __always_inline void fw_end_log(struct fw_log_record *record, int decision)
{
	bool many = bpf_ringbuf_query(&fw_log, BPF_RB_AVAIL_DATA) >= FW_LOG_BYTES / 8;

	record->verdict = decision & 0xff;
	record->reason = decision >> 8;
	if (bpf_ringbuf_output(&fw_log, record, sizeof(*record), many ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP))
		evnf_count_lost_event();
}
