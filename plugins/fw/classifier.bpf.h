/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which rule is the first that a packet matches. Each field of the packet gives
 * a row of bits, the tuples that may hold such a rule; the tuples in all rows
 * are looked into, one after the other, until none can hold an earlier rule
 * than was found.
 */
#pragma once

#include "connections.bpf.h"

/* Mapped into memory by user space, which fills them in one go; the size is set before loading. */
#define FW_TABLE(name, row)                                                                        \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__uint(max_entries, 1);                                                            \
		__type(key, __u32);                                                                \
		__type(value, row);                                                                \
	} name SEC(".maps")

FW_TABLE(fw_blocks4, struct fw_block); /* by side and upper half of the address; after them, by the third and fourth byte */
FW_TABLE(fw_blocks6, struct fw_block); /* by side and distance from the span's base; after them, those of other spans */
FW_TABLE(fw_spans6, struct fw_span6);  /* in blocks */
FW_TABLE(fw_points, struct fw_point);
FW_TABLE(fw_ports, struct fw_port_rows);
FW_TABLE(fw_protocols, struct fw_protocol_rows);
FW_TABLE(fw_rows, struct fw_row);
FW_TABLE(fw_groups, __u64); /* by row: a bit for each group that holds the addresses */
FW_TABLE(fw_tuples, struct fw_tuple);
FW_TABLE(fw_buckets, struct fw_bucket);
FW_TABLE(fw_entries, struct fw_entry);

/* How far a search has come. */
struct fw_place {
	__u64 words; /* of the rows: a bit for each that is still to be looked at */
	__u64 bits;  /* tuples of the present word that are still to be looked into */
	__u32 word;
	__u32 entry; /* to be looked at next, or FW_NOTHING */
	__u32 best;  /* the first rule found so far */
};

/* Which sets were asked about an address, and which of them hold it: a bit each. */
struct fw_sets_seen {
	__u64 known, in;
};

/*
 * A search under way. It is in a map and not on the stack, since the verifier
 * would tell apart all that may stand there, and follow each.
 */
struct fw_search {
	struct fw_l4 l4;
	struct fw_track track;
	struct fw_key key;
	struct fw_sets_seen sets[FW_SIDES];
	struct fw_place place;
	__u32 rows[FW_FIELDS];
	__u32 family;
	__u32 from;  /* rules before this one are not looked for */
	__u32 has_ports;
	__u32 has_icmp;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fw_search);
} fw_searches SEC(".maps");

/* What bpf_loop() hands on. */
struct fw_walk {
	struct fw_search *search;
	const struct evnf_packet *pkt;
};

static __always_inline struct fw_search *fw_current_search(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fw_searches, &zero);
}

static __always_inline bool fw_is_from(const struct fw_point *point, __u64 high, __u64 low)
{
	return point->start[0] < high || (point->start[0] == high && point->start[1] <= low);
}

/* The row of the last point in the block that is not after the address. */
static __always_inline __u32 fw_row_in(const struct fw_block *block, __u64 high, __u64 low)
{
	__u32 first = block->first, count = block->count, row = first;

	for (int i = 0; i < FW_BISECTIONS && count; i++) {
		__u32 middle = first + count / 2;
		const struct fw_point *point = bpf_map_lookup_elem(&fw_points, &middle);

		if (!point)
			return FW_NOTHING;
		if (fw_is_from(point, high, low)) {
			row = point->row;
			first = middle + 1;
			count -= count / 2 + 1;
		} else {
			count /= 2;
		}
	}
	return count ? FW_NOTHING : row;
}

static __always_inline bool fw_asks(enum fw_family family, enum fw_side side)
{
	return fw_config.asks_address[family] >> side & 1;
}

static __always_inline const struct fw_block *fw_block4(enum fw_side side, __u32 address)
{
	__u32 slot = side * FW_BLOCKS + (address >> 16);
	const struct fw_block *block = bpf_map_lookup_elem(&fw_blocks4, &slot);

#pragma unroll
	for (int shift = 8; shift >= 0; shift -= 8) {
		if (!block || block->count != FW_NODE)
			return block;
		slot = block->first + (address >> shift & 0xff);
		block = bpf_map_lookup_elem(&fw_blocks4, &slot);
	}
	return block;
}

static __always_inline __u32 fw_row4(enum fw_side side, __u32 address)
{
	const struct fw_block *block = fw_block4(side, address);

	return block ? fw_row_in(block, 0, address) : FW_NOTHING;
}

static __always_inline __u32 fw_row6(enum fw_side side, __u64 high, __u64 low)
{
	struct fw_span6 span = {
		.base = fw_config.spans6[side].base,
		.shift = fw_config.spans6[side].shift,
		.before = fw_config.spans6[side].before,
		.first = fw_config.spans6[side].first,
	};
	const struct fw_span6 *nested;
	const struct fw_block *block;
	__u32 slot, count = FW_BLOCKS;
	__u64 distance;

#pragma unroll
	for (int depth = 0; depth <= FW_NESTED_SPANS; depth++) {
		if (high < span.base)
			return span.before;
		distance = (high - span.base) >> (span.shift & 63);
		slot = span.first + (distance < count ? distance : count - 1);
		block = bpf_map_lookup_elem(&fw_blocks6, &slot);
		if (!block)
			return FW_NOTHING;
		if (block->count != FW_NODE)
			break;
		nested = bpf_map_lookup_elem(&fw_spans6, &block->first);
		if (!nested)
			return FW_NOTHING;
		span = *nested;
		count = FW_NODE_BLOCKS;
	}
	return fw_row_in(block, high, low);
}

static __always_inline void fw_find_address(struct fw_search *search, enum fw_side side,
					    const union evnf_address *address)
{
	enum fw_field field = side == FW_SRC ? FW_ROW_SRC : FW_ROW_DST;

	if (search->family == FW_V4) {
		if (fw_asks(FW_V4, side))
			search->rows[field] = fw_row4(side, bpf_ntohl(address->words[3]));
	} else {
		if (fw_asks(FW_V6, side))
			search->rows[field] = fw_row6(side, bpf_be64_to_cpu(address->halves[0]), bpf_be64_to_cpu(address->halves[1]));
	}
}

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

/* Number of the lowest bit, hidden from the compiler, which knows what the verifier does not: that it is below 64. */
static __always_inline __u32 fw_lowest(__u64 bits)
{
	__u32 bit = __builtin_ctzll(bits);

	asm volatile("" : "+r"(bit));
	return bit & 63;
}

#include "sets.bpf.h"

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

/* Conditions that few rules have. */
static __always_inline bool fw_has_the_rest(const struct fw_entry *entry, const struct fw_search *search,
					    const struct evnf_packet *pkt)
{
	__u32 conditions = entry->conditions;

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
	if (conditions & FW_IF_STATE && !(entry->states >> (search->track.state & 7) & 1))
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
	return !(conditions & ~(FW_IF_PROTOCOL | FW_IF_PORTS | FW_LAST)) ||
	       fw_has_the_rest(entry, search, pkt);
}

/* Goes on to the next word that has a bit in all rows, while it may lead to an earlier rule. */
static __always_inline int fw_next_word(struct fw_search *search, const struct fw_five_rows *rows)
{
	struct fw_place *place = &search->place;
	__u64 words = place->words, bits = 0;
	__u32 word = 0, best = place->best;

#pragma nounroll
	for (int i = 0; i < FW_WORDS && words && !bits; i++) {
		word = fw_lowest(words) & (FW_WORDS - 1);
		words &= words - 1;
		if (fw_config.first_rules[search->family & 1][word] >= best)
			return FW_STOP;
		bits = FW_AND(*rows, tuples[word]);
	}
	place->words = words;
	place->word = word;
	place->bits = bits;
	return bits ? FW_GO_ON : FW_STOP;
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
		if (fw_next_list(search) == FW_STOP)
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
