/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The stage contract: what a plugin's fast path is written against.
 *
 *	EVNF_STAGE(fw, ctx, pkt)
 *	{
 *		struct fw_rule *rule = fw_match(pkt);
 *		...
 *		return rule->drop ? evnf_drop(EVNF_REASON_RULE) : EVNF_NEXT;
 *	}
 *
 * Names that begin with evnf_ belong to the framework. The daemon tells maps
 * apart by three rules: a map named evnf_* is the framework's own and shared by
 * all programs of a generation; a map declared with
 * __uint(pinning, LIBBPF_PIN_BY_NAME) is state, kept from generation to
 * generation and over restarts of the daemon; any other map is made anew for
 * each generation and shared by the plugin's programs in it. Global variables
 * are not shared: each chain's program has its own.
 */
#pragma once

#include "ctx.bpf.h"

const volatile struct evnf_stage_config evnf_config SEC(".rodata.evnf") = {};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, EVNF_MAX_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} EVNF_CHAIN SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct evnf_packet);
} evnf_packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVNF_MAX_PORTS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct evnf_port_counters);
} evnf_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVNF_MAX_STAGES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct evnf_stage_counters);
} evnf_stages SEC(".maps");

/* One element, never 0 once the daemon has drawn it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} evnf_handover_key SEC(".maps");

static __always_inline __u64 evnf_current_handover_key(void)
{
	__u32 zero = 0;
	__u64 *key = bpf_map_lookup_elem(&evnf_handover_key, &zero);

	return key ? *key : 0;
}

/* A verdict with its reason in one word: what a stage returns. */
static __always_inline int evnf_drop(enum evnf_reason reason)
{
	return EVNF_DROP | reason << 8;
}

static __always_inline int evnf_kernel(enum evnf_reason reason)
{
	return EVNF_KERNEL | reason << 8;
}

static __always_inline struct evnf_packet *evnf_current_packet(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&evnf_packets, &zero);
}

static __always_inline struct evnf_stage_counters *evnf_counters(void)
{
	__u32 stage = evnf_config.stage;

	return bpf_map_lookup_elem(&evnf_stages, &stage);
}

/* Says that a record for the slow path was lost: every ring needs this on its failure path. */
static __always_inline void evnf_count_lost_event(void)
{
	struct evnf_stage_counters *counters = evnf_counters();

	if (counters)
		counters->lost_events++;
}

/* Leaves a remark on the packet that the plugin's C++ side turns into text (--replay). */
static __always_inline void evnf_note(struct evnf_packet *pkt, __u64 note)
{
	pkt->note[evnf_config.stage & (EVNF_MAX_STAGES - 1)] = note;
}

static __always_inline void evnf_visit(struct evnf_packet *pkt)
{
	struct evnf_stage_counters *counters = evnf_counters();

	if (counters && !pkt->self_test)
		counters->packets++;
	pkt->visited |= 1u << (evnf_config.stage & 31);
	evnf_note(pkt, 0);
}

/* Writes a final decision into the packet and all counters. */
static __always_inline void evnf_record(struct evnf_packet *pkt, int decision)
{
	__u32 port = pkt->port, verdict = decision & 0xff;
	__u32 reason = (__u32)decision >> 8 & (EVNF_REASON_MAX - 1);
	struct evnf_port_counters *ports = bpf_map_lookup_elem(&evnf_ports, &port);
	struct evnf_stage_counters *stage = evnf_counters();

	pkt->verdict = verdict;
	pkt->reason = reason;
	pkt->decided_by = evnf_config.stage;
	if (ports)
		ports->verdicts[verdict & 7]++;
	if (stage && verdict == EVNF_DROP)
		stage->drops[reason]++;
	if (stage && verdict == EVNF_KERNEL)
		stage->kernel[reason]++;
}

/*
 * The stage that was due is not there. Never a fall-through: each missing stage
 * is counted and skipped only where its own on_error says skip.
 */
static __always_inline int evnf_missed(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	struct evnf_stage_counters *counters = evnf_counters();
	__u32 slot = evnf_config.next_slot;

	for (int i = 0; i <= EVNF_MAX_CHAIN && slot <= evnf_config.last_slot; i++, slot++) {
		if (i > 0)
			bpf_tail_call(ctx, &EVNF_CHAIN, slot);
		if (counters)
			counters->missed++;
		if (!(evnf_config.skip_mask >> i & 1))
			break;
	}
	evnf_record(pkt, evnf_drop(EVNF_REASON_MISSED_TAIL_CALL));
	return EVNF_HOOK_DROP;
}

/* The frame goes to the kernel next, which is told a word of EVNF_RESUME_*; false where that cannot be. */
static __always_inline bool evnf_hand_over(evnf_ctx *ctx, __u16 word, __u32 egress)
{
	struct evnf_handover handover = { .key = evnf_current_handover_key(), .word = word, .egress = egress };

	return evnf_hand(ctx, &handover);
}

/* The packet goes to the kernel, with what it takes to bring it back to the stage after this one. */
static __always_inline int evnf_leave(evnf_ctx *ctx, struct evnf_packet *pkt, int decision)
{
	__u32 word = evnf_config.resume;
	bool handed;

	if (word > EVNF_RESUME_DONE)
		word += pkt->ordinal;
	handed = evnf_config.dry_run || (word && evnf_hand_over(ctx, word, 0));
	/* Without metadata, which not all drivers have, the kernel takes it for done. */
	if (!handed && word != EVNF_RESUME_DONE)
		decision = evnf_drop(EVNF_REASON_NOT_RESUMABLE);
	evnf_record(pkt, decision);
	return (decision & 0xff) == EVNF_DROP ? EVNF_HOOK_DROP : EVNF_HOOK_PASS;
}

/*
 * Carries a stage's decision out: the only way out of a stage. What came back
 * from the kernel is not left to it again: netfilter has had its say. A copy
 * from a tap has no way out but being dropped: the packet itself is elsewhere,
 * and has its own fate.
 */
static __always_inline int evnf_finish(evnf_ctx *ctx, struct evnf_packet *pkt, int decision)
{
	__u32 verdict = decision & 0xff;

	if (evnf_config.tap && verdict != EVNF_NEXT && verdict != EVNF_DROP) {
		decision = evnf_drop(EVNF_REASON_TAP);
		verdict = EVNF_DROP;
	}
	if (verdict == EVNF_NEXT || (EVNF_TC && verdict == EVNF_KERNEL && pkt->resumed)) {
		bpf_tail_call(ctx, &EVNF_CHAIN, evnf_config.next_slot);
		return evnf_missed(ctx, pkt);
	}
	if (verdict == EVNF_KERNEL || verdict == EVNF_LOCAL)
		return evnf_leave(ctx, pkt, decision);
	evnf_record(pkt, decision);
	return verdict == EVNF_REPLY ? evnf_reply(ctx, pkt) : EVNF_HOOK_DROP;
}

#include "slowpath.bpf.h"

/* Declares a program of the chain; the body that follows returns a decision. */
#define EVNF_STAGE(name, ctx, pkt)                                                                 \
	static __always_inline int name##_stage(evnf_ctx *ctx, struct evnf_packet *pkt);           \
	SEC(EVNF_SECTION) int name(evnf_ctx *ctx)                                                  \
	{                                                                                          \
		struct evnf_packet *pkt = evnf_current_packet();                                   \
                                                                                                   \
		if (!pkt)                                                                          \
			return EVNF_HOOK_DROP;                                                     \
		evnf_visit(pkt);                                                                   \
		if (pkt->self_test)                                                                \
			return evnf_finish(ctx, pkt, EVNF_NEXT);                                   \
		return evnf_finish(ctx, pkt, evnf_is_orphaned(pkt) ? evnf_drop(EVNF_REASON_ORPHANED) : \
								     name##_stage(ctx, pkt));      \
	}                                                                                          \
	static __always_inline int name##_stage(evnf_ctx *ctx, struct evnf_packet *pkt)
