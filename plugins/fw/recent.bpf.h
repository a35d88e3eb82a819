/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Recent answers: a packet like one of a moment ago meets the same rule, and
 * needs no search. Each CPU keeps its own. They are made with the generation,
 * so no rule that was replaced is among them; those for which a set was asked
 * are of no use any more when some set has changed.
 *
 * Packets that are all different, a flood from spoofed sources say, would pay
 * for looking and keeping and gain nothing: where too few are found again, the
 * CPU does without for a while.
 */
#pragma once

#include "classifier.bpf.h"

FW_TABLE(fw_recent, struct fw_recent); /* FW_RECENT of each CPU */

/* Counts the changes of sets. */
FW_TABLE(fw_set_version, __u64);

/* Whether it pays to look. */
struct fw_recency {
	__s32 spent; /* looks in vain, less what the others saved */
	__u32 pause; /* packets that are still to go without */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_recency);
} fw_recencies SEC(".maps");

/* Only what some rule asks for, or packets would differ that are alike to all rules. */
static __always_inline union fw_traits fw_traits_of(const struct fw_search *search, const struct evnf_packet *pkt)
{
	union fw_traits traits = {
		.inner_vlan = pkt->vlan[1],
		.in_port = pkt->port & 63,
		.dscp = pkt->tos >> 2,
		.tcp_flags = search->l4.tcp_flags,
		.icmp_type = search->l4.icmp_type,
		.icmp_code = search->l4.icmp_code,
		.others = (search->family & 1) | !!search->l4.known << 1 | (pkt->fragment & 7) << 2 |
			  (search->track.state & 7) << 5,
	};

	traits.all &= fw_config.asked_traits.all;
	return traits;
}

static __always_inline __u64 fw_hash_of_recent(const struct fw_key *key, union fw_traits traits)
{
	__u64 hash = key->src.halves[0] * 0x9e3779b97f4a7c15ULL + key->dst.halves[0] * 0xd6e8feb86659fd93ULL +
		     key->src.halves[1] * 0xc2b2ae3d27d4eb4fULL + key->dst.halves[1] * 0xa0761d6478bd642fULL +
		     key->l4 * 0xe7037ed1a0b428dbULL + key->l2 * 0x8ebc6af09c88c6e3ULL + traits.all * 0x589965cc75374cc3ULL;

	return (hash ^ hash >> 32) * 0x9fb21c651e98df25ULL;
}

static __always_inline bool fw_pauses(void)
{
	__u32 zero = 0;
	struct fw_recency *recency = bpf_map_lookup_elem(&fw_recencies, &zero);

	if (!recency || !recency->pause)
		return !recency;
	recency->pause--;
	return true;
}

/* Where the answer for such packets is, or would be. */
static __always_inline struct fw_recent *fw_find_recent(const struct fw_search *search, union fw_traits traits)
{
	__u32 index = bpf_get_smp_processor_id() * FW_RECENT;

	index += (fw_hash_of_recent(&search->key, traits) >> 32) % FW_RECENT;
	return bpf_map_lookup_elem(&fw_recent, &index);
}

/* At least FW_ANSWER_OF_SETS. A volatile read: it is not to be moved over the search. */
static __always_inline __u32 fw_sets_now(void)
{
	__u32 zero = 0;
	const __u64 *version = bpf_map_lookup_elem(&fw_set_version, &zero);

	return FW_ANSWER_OF_SETS + (version ? *(const volatile __u64 *)version & 0x7fffffff : 0);
}

static __always_inline bool fw_answers(const struct fw_recent *recent, const struct fw_search *search, union fw_traits traits)
{
	const struct fw_key *a = &recent->key, *b = &search->key;

	if ((a->src.halves[0] ^ b->src.halves[0]) | (a->src.halves[1] ^ b->src.halves[1]) |
	    (a->dst.halves[0] ^ b->dst.halves[0]) | (a->dst.halves[1] ^ b->dst.halves[1]) | (a->l4 ^ b->l4) |
	    (a->l2 ^ b->l2) | (recent->traits.all ^ traits.all))
		return false;
	return recent->answer == FW_ANSWER || (recent->answer && recent->answer == fw_sets_now());
}

static __always_inline void fw_save_time(void)
{
	__u32 zero = 0;
	struct fw_recency *recency = bpf_map_lookup_elem(&fw_recencies, &zero);

	if (recency && recency->spent > -FW_RECENT_CREDIT)
		recency->spent -= FW_RECENT_GAIN;
}

/* Atomic for the order of memory: what is read from here on is no older than the version of the sets, which is read next. */
static __always_inline void fw_spend_time(void)
{
	__u32 zero = 0;
	struct fw_recency *recency = bpf_map_lookup_elem(&fw_recencies, &zero);

	if (!recency || __sync_fetch_and_add(&recency->spent, 1) < FW_RECENT_TRIAL)
		return;
	recency->spent = 0;
	recency->pause = FW_RECENT_PAUSE;
}

static __always_inline void fw_keep(struct fw_recent *recent, const struct fw_search *search, union fw_traits traits, __u32 rule,
				    __u32 sets)
{
	bool asked_sets = search->sets[FW_SRC].known | search->sets[FW_DST].known;

	recent->key = search->key;
	recent->traits = traits;
	recent->rule = rule;
	recent->answer = rule > fw_config.rules ? FW_NO_ANSWER : asked_sets ? sets : FW_ANSWER;
}

/* fw_classify() for all rules. */
static __always_inline __u32 fw_classify_all(struct fw_search *search, const struct evnf_packet *pkt, __u64 mac)
{
	struct fw_recent *recent = NULL;
	union fw_traits traits = {};
	__u32 rule, sets = 0;

	if (fw_config.few)
		return fw_classify(search, pkt, mac, 0);
	fw_begin(search, pkt, mac, 0);
	if (!fw_pauses()) {
		traits = fw_traits_of(search, pkt);
		recent = fw_find_recent(search, traits);
	}
	if (recent && fw_answers(recent, search, traits)) {
		fw_save_time();
		return recent->rule;
	}
	if (recent) {
		fw_spend_time();
		sets = fw_sets_now();
	}
	rule = fw_search_tuples(search, pkt);
	if (recent)
		fw_keep(recent, search, traits, rule, sets);
	return rule;
}
