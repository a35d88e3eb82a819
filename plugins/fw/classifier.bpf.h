/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which rule is the first that a packet matches. Each field of the packet gives
 * a row of bits, the tuples that may hold such a rule; the tuples in all rows
 * are looked into, one after the other, until none can hold an earlier rule
 * than was found.
 */
#pragma once

#include "addresses.bpf.h"
#include "sets.bpf.h"

FW_TABLE(fw_ports, struct fw_port_rows);
FW_TABLE(fw_protocols, struct fw_protocol_rows);
FW_TABLE(fw_rows, struct fw_row);
FW_TABLE(fw_groups, __u64); /* by row: a bit for each group that holds the addresses */
FW_TABLE(fw_tuples, struct fw_tuple);
FW_TABLE(fw_buckets, struct fw_bucket);
FW_TABLE(fw_entries, struct fw_entry);

/* What bpf_loop() hands on. */
struct fw_walk {
	struct fw_search *search;
	const struct evnf_packet *pkt;
};

/* The packet's rows. A field that no rule asks for has the protocol's once more, which changes nothing. */
static __always_inline bool fw_find_rows(struct fw_search *search, const struct evnf_packet *pkt)
{
	__u32 sport = search->has_ports ? bpf_ntohs(search->l4.sport) : FW_NO_PORT, protocol = pkt->protocol;
	__u32 dport = search->has_ports ? bpf_ntohs(search->l4.dport) : FW_NO_PORT;
	const struct fw_protocol_rows *protocols = bpf_map_lookup_elem(&fw_protocols, &protocol);
	bool v4 = search->family == FW_V4;
	const struct fw_port_rows *ports;

	if (!protocols)
		return false;
	for (int field = 0; field < FW_FIELDS; field++)
		search->rows[field] = v4 ? protocols->row[FW_V4] : protocols->row[FW_V6];
	if (fw_config.asks_ports) {
		ports = bpf_map_lookup_elem(&fw_ports, &sport);
		if (!ports)
			return false;
		search->rows[FW_ROW_SPORT] = v4 ? ports->sport[FW_V4] : ports->sport[FW_V6];
		ports = bpf_map_lookup_elem(&fw_ports, &dport);
		if (!ports)
			return false;
		search->rows[FW_ROW_DPORT] = v4 ? ports->dport[FW_V4] : ports->dport[FW_V6];
	}
	fw_find_address(search, FW_SRC, &pkt->src);
	fw_find_address(search, FW_DST, &pkt->dst);
	return true;
}

struct fw_five_rows {
	const struct fw_row *of[FW_FIELDS];
};

static __always_inline bool fw_get_rows(const struct fw_search *search, struct fw_five_rows *rows)
{
#pragma unroll
	for (int field = 0; field < FW_FIELDS; field++) {
		__u32 index = search->rows[field];

		rows->of[field] = bpf_map_lookup_elem(&fw_rows, &index);
		if (!rows->of[field])
			return false;
	}
	return true;
}

#define FW_AND(rows, member)                                                                       \
	((rows).of[0]->member & (rows).of[1]->member & (rows).of[2]->member & (rows).of[3]->member & \
	 (rows).of[4]->member)

enum { FW_GO_ON = 0, FW_STOP = 1 };

/* A table lacks what it must have. */
static __always_inline int fw_fail(struct fw_search *search)
{
	search->place.best = FW_NOTHING;
	return FW_STOP;
}

/* The tuple's list for the packet's key, or FW_NOTHING. */
static __always_inline __u32 fw_list(const struct fw_search *search, const struct fw_tuple *tuple)
{
	__u64 hash = fw_hash(&search->key, tuple, search->family);
	__u32 index = (__u32)hash & fw_config.bucket_mask;
	const struct fw_bucket *bucket = bpf_map_lookup_elem(&fw_buckets, &index);

	return bucket ? fw_list_in(bucket, fw_tag(hash, search->family)) : FW_NOTHING;
}

static __always_inline bool fw_is_in_group(const struct fw_search *search, enum fw_field field, __u8 group)
{
	__u32 row = search->rows[field];
	const __u64 *groups = bpf_map_lookup_elem(&fw_groups, &row);

	return groups && *groups >> (group & (FW_MAX_GROUPS - 1)) & 1;
}

static __always_inline bool fw_has_addresses(const struct fw_entry *entry, const struct fw_search *search)
{
	const struct fw_key *key = &search->key;
	__u64 differences = ((key->src.halves[1] ^ entry->src.halves[1]) & entry->src_mask.halves[1]) |
			    ((key->dst.halves[1] ^ entry->dst.halves[1]) & entry->dst_mask.halves[1]);

	if (search->family == FW_V6)
		differences |= ((key->src.halves[0] ^ entry->src.halves[0]) & entry->src_mask.halves[0]) |
			       ((key->dst.halves[0] ^ entry->dst.halves[0]) & entry->dst_mask.halves[0]);
	return !differences;
}

static __always_inline bool fw_has_ports(const struct fw_entry *entry, const struct fw_search *search)
{
	__u16 sport = search->key.l4 >> 32, dport = search->key.l4 >> 16;

	return search->has_ports && sport >= entry->sport_first && sport <= entry->sport_last &&
	       dport >= entry->dport_first && dport <= entry->dport_last;
}

/* Conditions that few rules have. A function of its own, so that the verifier need not follow them at each step of a search. */
__noinline int fw_has_the_rest(const struct fw_entry *entry)
{
	const struct evnf_packet *pkt = evnf_current_packet();
	struct fw_search *search = fw_current_search();
	__u32 conditions;

	if (!entry || !search || !pkt)
		return false;
	conditions = entry->conditions;
	if (conditions & FW_IF_FLAGS &&
	    (pkt->protocol != IPPROTO_TCP || !search->has_ports || (search->l4.tcp_flags & entry->flags_mask) != entry->flags))
		return false;
	if (conditions & FW_IF_ICMP_TYPE && (!search->has_icmp || search->l4.icmp_type != entry->icmp_type))
		return false;
	if (conditions & FW_IF_ICMP_CODE && search->l4.icmp_code != entry->icmp_code)
		return false;
	if (conditions & FW_IF_VLAN && pkt->vlan[0] != entry->vlan)
		return false;
	if (conditions & FW_IF_INNER_VLAN && pkt->vlan[1] != entry->inner_vlan)
		return false;
	if (conditions & FW_IF_IN_PORT && !(entry->in_ports >> (pkt->port & 63) & 1))
		return false;
	if (conditions & FW_IF_DSCP && !(entry->dscps >> (pkt->tos >> 2) & 1))
		return false;
	if (conditions & FW_IF_FRAGMENT && !(entry->fragments >> (pkt->fragment & 7) & 1))
		return false;
	if (conditions & FW_IF_MAC && search->key.l2 >> 16 != entry->mac)
		return false;
	if (conditions & FW_IF_SRC_GROUP &&
	    fw_is_in_group(search, FW_ROW_SRC, entry->src_group) == !!(conditions & FW_SRC_NOT_IN_GROUP))
		return false;
	if (conditions & FW_IF_DST_GROUP &&
	    fw_is_in_group(search, FW_ROW_DST, entry->dst_group) == !!(conditions & FW_DST_NOT_IN_GROUP))
		return false;
	if (conditions & FW_IF_SRC_SETS && !fw_meets_sets(entry, search, FW_SRC))
		return false;
	return !(conditions & FW_IF_DST_SETS) || fw_meets_sets(entry, search, FW_DST);
}

static __always_inline bool fw_is_too_early(const struct fw_entry *entry, const struct fw_search *search)
{
	return fw_config.has_limits && entry->rule < search->from;
}

static __always_inline bool fw_is_met(const struct fw_entry *entry, const struct fw_search *search,
				      const struct evnf_packet *pkt)
{
	__u32 conditions = entry->conditions;

	if (!fw_has_addresses(entry, search))
		return false;
	if (conditions & FW_IF_PROTOCOL && entry->protocol != pkt->protocol)
		return false;
	if (conditions & FW_IF_PORTS && !fw_has_ports(entry, search))
		return false;
	if (conditions & FW_IF_STATE && !(entry->states >> (search->track.state & 7) & 1))
		return false;
	return !(conditions & ~(FW_IF_PROTOCOL | FW_IF_PORTS | FW_IF_STATE | FW_LAST)) || fw_has_the_rest(entry);
}

/* Goes on to the next word that has a bit in all rows, or some words on; no further than it may lead to an earlier rule. */
static __always_inline int fw_next_word(struct fw_search *search, const struct fw_five_rows *rows)
{
	struct fw_place *place = &search->place;
	__u64 words = place->words, bits = 0;
	__u32 word = 0, best = place->best;

#pragma nounroll
	for (int i = 0; i < FW_QUICK_WORDS && words && !bits; i++) {
		word = fw_lowest(words) & (FW_WORDS - 1);
		words &= words - 1;
		if (fw_config.first_rules[search->family & 1][word] >= best)
			return FW_STOP;
		bits = FW_AND(*rows, tuples[word]);
	}
	place->words = words;
	place->word = word;
	place->bits = bits;
	return bits | words ? FW_GO_ON : FW_STOP;
}

/* Goes on to the list that the next tuple has for the packet; it may have none. */
static __always_inline int fw_next_list(struct fw_search *search)
{
	struct fw_place *place = &search->place;
	__u32 index = search->family == FW_V4 ? fw_config.first_tuple[FW_V4] : fw_config.first_tuple[FW_V6];
	const struct fw_tuple *tuple;

	index += place->word * 64 + fw_lowest(place->bits);
	place->bits &= place->bits - 1;
	tuple = bpf_map_lookup_elem(&fw_tuples, &index);
	if (!tuple)
		return fw_fail(search);
	if (tuple->first_rule >= place->best)
		return FW_STOP;
	place->entry = fw_list(search, tuple);
	return FW_GO_ON;
}

static __always_inline int fw_next_entry(struct fw_search *search, const struct evnf_packet *pkt)
{
	struct fw_place *place = &search->place;
	__u32 index = place->entry;
	const struct fw_entry *entry = bpf_map_lookup_elem(&fw_entries, &index);

	place->entry = FW_NOTHING;
	if (!entry)
		return fw_fail(search);
	if (entry->rule >= place->best)
		return FW_GO_ON; /* later entries of a list are of later rules */
	if (!fw_is_too_early(entry, search) && fw_is_met(entry, search, pkt))
		place->best = entry->rule;
	else if (!(entry->conditions & FW_LAST))
		place->entry = index + 1;
	return FW_GO_ON;
}

/* One step of the search: a tuple and the first entry of its list, or a further entry. */
static __always_inline int fw_look(struct fw_search *search, const struct fw_five_rows *rows, const struct evnf_packet *pkt)
{
	struct fw_place *place = &search->place;

	if (place->entry == FW_NOTHING) {
		if (!place->bits && fw_next_word(search, rows) == FW_STOP)
			return FW_STOP;
		if (place->bits && fw_next_list(search) == FW_STOP)
			return FW_STOP;
	}
	return place->entry == FW_NOTHING ? FW_GO_ON : fw_next_entry(search, pkt);
}

/* bpf_loop() calls it. */
static long fw_step(__u32 step, struct fw_walk *walk)
{
	struct fw_search *search = walk->search;
	struct fw_five_rows rows;

	if (!fw_get_rows(search, &rows))
		return fw_fail(search);
	return fw_look(search, &rows, walk->pkt);
}

/* What the rules from `from` on are asked about; the search is to begin. */
static __always_inline void fw_begin(struct fw_search *search, const struct evnf_packet *pkt, __u64 mac, __u32 from)
{
	__u64 ports = 0;

	search->has_ports = search->l4.known && (pkt->protocol == IPPROTO_TCP || pkt->protocol == IPPROTO_UDP ||
						 pkt->protocol == IPPROTO_SCTP);
	search->has_icmp = search->l4.known && pkt->protocol == (pkt->ip_version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	if (search->has_ports)
		ports = (__u64)bpf_ntohs(search->l4.sport) << 32 | (__u32)bpf_ntohs(search->l4.dport) << 16;
	search->key.src = pkt->src;
	search->key.dst = pkt->dst;
	search->key.l4 = ports | pkt->protocol;
	search->key.l2 = mac << 16 | pkt->vlan[0];
	search->family = pkt->ip_version == 4 ? FW_V4 : FW_V6;
	search->sets[FW_SRC] = search->sets[FW_DST] = (struct fw_sets_seen){};
	search->place.bits = 0;
	search->place.entry = FW_NOTHING;
	search->place.best = fw_config.rules;
	search->from = from;
}

static __always_inline __u32 fw_search_tuples(struct fw_search *search, const struct evnf_packet *pkt)
{
	struct fw_walk walk = { .search = search, .pkt = pkt };
	struct fw_five_rows rows;

	if (!fw_find_rows(search, pkt) || !fw_get_rows(search, &rows))
		return FW_NOTHING;
	search->place.words = FW_AND(rows, words);
	/* The return from a call takes longer than a step: the kernel keeps the CPU from predicting where it leads. */
#pragma nounroll
	for (int i = 0; i < FW_QUICK_STEPS; i++)
		if (fw_look(search, &rows, pkt) == FW_STOP)
			return search->place.best;
	return bpf_loop(FW_MAX_STEPS, fw_step, &walk, 0) < FW_MAX_STEPS ? search->place.best : FW_TOO_LONG;
}

static __always_inline __u32 fw_try_all(const struct fw_search *search, const struct evnf_packet *pkt, enum fw_family family)
{
	for (__u32 i = 0; i < FW_FEW && i < fw_config.few_count[family]; i++) {
		__u32 index = fw_config.few_first[family] + i;
		const struct fw_entry *entry = bpf_map_lookup_elem(&fw_entries, &index);

		if (!entry)
			return FW_NOTHING;
		if (!fw_is_too_early(entry, search) && fw_is_met(entry, search, pkt))
			return entry->rule;
	}
	return fw_config.rules;
}

/*
 * The first rule's index in fw_rules, of those from `from` on; fw_config.rules
 * where none matches. FW_TOO_LONG where the search took too long, FW_NOTHING
 * where a table is not whole. The search has the packet's L4 header and state.
 */
static __always_inline __u32 fw_classify(struct fw_search *search, const struct evnf_packet *pkt, __u64 mac, __u32 from)
{
	fw_begin(search, pkt, mac, from);
	if (!fw_config.few)
		return fw_search_tuples(search, pkt);
	return search->family == FW_V4 ? fw_try_all(search, pkt, FW_V4) : fw_try_all(search, pkt, FW_V6);
}
