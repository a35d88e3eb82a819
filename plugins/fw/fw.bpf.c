// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * fw: the first rule that a packet matches decides. All rules are tried at
 * once: each field of the packet gives a row of bits, the rules that it
 * satisfies, and the lowest bit that is in all rows is the rule.
 */
#include <evnf/stage.bpf.h>

#include <linux/in.h>
#include <linux/in6.h>

#include "fw_shared.h"

EVNF_LICENSE;

const volatile struct fw_config fw_config = {};

/* Mapped into memory by user space, which fills them in one go. */
#define FW_ROWS(name, rows)                                                                        \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(map_flags, BPF_F_MMAPABLE);                                                 \
		__uint(max_entries, rows);                                                         \
		__type(key, __u32);                                                                \
		__type(value, struct fw_bitmap);                                                   \
	} name SEC(".maps")

FW_ROWS(fw_sport, FW_PORT_ROWS);
FW_ROWS(fw_dport, FW_PORT_ROWS);
FW_ROWS(fw_protocol, FW_PROTOCOL_ROWS);
FW_ROWS(fw_icmp, FW_ICMP_ROWS);
FW_ROWS(fw_tcp_flags, FW_TCP_FLAGS_ROWS);
FW_ROWS(fw_vlan, FW_VLAN_ROWS);
FW_ROWS(fw_in_port, FW_IN_PORT_ROWS);

/* The number of prefixes is set before loading. */
#define FW_PREFIXES(name)                                                                          \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                               \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__uint(max_entries, 1);                                                            \
		__type(key, struct fw_prefix);                                                     \
		__type(value, struct fw_bitmap);                                                   \
	} name SEC(".maps")

FW_PREFIXES(fw_src);
FW_PREFIXES(fw_dst);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FW_MAX_RULES + 1);
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

/* Strikes out the candidates that the packet's row in `table` lacks; false where there is no row. */
static __always_inline bool fw_narrow(struct fw_bitmap *candidates, enum fw_field field, void *table,
				      const void *key)
{
	const volatile struct fw_bitmap *asking = &fw_config.asking[field];
	const struct fw_bitmap *row;

	if (!(candidates->words[0] & asking->words[0]) && !(candidates->words[1] & asking->words[1]))
		return true;
	row = bpf_map_lookup_elem(table, key);
	if (!row)
		return false;
	candidates->words[0] &= row->words[0];
	candidates->words[1] &= row->words[1];
	return true;
}

static __always_inline bool fw_narrow_value(struct fw_bitmap *candidates, enum fw_field field, void *rows,
					    __u32 value)
{
	return fw_narrow(candidates, field, rows, &value);
}

static __always_inline bool fw_narrow_address(struct fw_bitmap *candidates, enum fw_field field,
					      void *prefixes, const struct evnf_packet *pkt,
					      const union evnf_address *address)
{
	struct fw_prefix key = { .length = 32 + 128, .family = pkt->ip_version, .address = *address };

	return fw_narrow(candidates, field, prefixes, &key);
}

static __always_inline __u32 fw_port_row(const struct evnf_packet *pkt, __be16 port)
{
	bool has_ports = pkt->protocol == IPPROTO_TCP || pkt->protocol == IPPROTO_UDP ||
			 pkt->protocol == IPPROTO_SCTP;

	return has_ports && pkt->fragment != EVNF_FRAGMENT_LATER ? bpf_ntohs(port) : FW_NO_PORT;
}

static __always_inline __u32 fw_icmp_row(const struct evnf_packet *pkt)
{
	if (pkt->fragment == EVNF_FRAGMENT_LATER)
		return FW_NO_ICMP;
	if (pkt->ip_version == 4 && pkt->protocol == IPPROTO_ICMP)
		return pkt->icmp_type;
	if (pkt->ip_version == 6 && pkt->protocol == IPPROTO_ICMPV6)
		return FW_ICMPV6_ROW + pkt->icmp_type;
	return FW_NO_ICMP;
}

static __always_inline __u32 fw_tcp_flags_row(const struct evnf_packet *pkt)
{
	bool has_flags = pkt->protocol == IPPROTO_TCP && pkt->fragment != EVNF_FRAGMENT_LATER;

	return has_flags ? pkt->tcp_flags : FW_NO_TCP;
}

static __always_inline __u32 fw_vlan_row(const struct evnf_packet *pkt)
{
	return pkt->vlan[0] < FW_UNTAGGED ? pkt->vlan[0] : FW_UNTAGGED;
}

static __always_inline __u32 fw_first(const struct fw_bitmap *candidates)
{
	if (candidates->words[0])
		return __builtin_ctzll(candidates->words[0]);
	if (candidates->words[1])
		return 64 + __builtin_ctzll(candidates->words[1]);
	return FW_DEFAULT;
}

/* The rule that decides, the default included; NULL where a table lacks a row that it must have. */
static __always_inline const struct fw_rule *fw_match(const struct evnf_packet *pkt)
{
	struct fw_bitmap left = { { fw_config.rules.words[0], fw_config.rules.words[1] } };
	__u32 first;

	/* The addresses come last: a trie costs more than all arrays, and often no candidate asks for it. */
	if (!fw_narrow_value(&left, FW_PROTOCOL, &fw_protocol, pkt->protocol) ||
	    !fw_narrow_value(&left, FW_DPORT, &fw_dport, fw_port_row(pkt, pkt->dport)) ||
	    !fw_narrow_value(&left, FW_SPORT, &fw_sport, fw_port_row(pkt, pkt->sport)) ||
	    !fw_narrow_value(&left, FW_ICMP, &fw_icmp, fw_icmp_row(pkt)) ||
	    !fw_narrow_value(&left, FW_TCP_FLAGS, &fw_tcp_flags, fw_tcp_flags_row(pkt)) ||
	    !fw_narrow_value(&left, FW_VLAN, &fw_vlan, fw_vlan_row(pkt)) ||
	    !fw_narrow_value(&left, FW_IN_PORT, &fw_in_port, pkt->port) ||
	    !fw_narrow_address(&left, FW_SRC, &fw_src, pkt, &pkt->src) ||
	    !fw_narrow_address(&left, FW_DST, &fw_dst, pkt, &pkt->dst))
		return NULL;
	first = fw_first(&left);
	return bpf_map_lookup_elem(&fw_rules, &first);
}

static __always_inline void fw_count(const struct fw_rule *rule, const struct evnf_packet *pkt)
{
	__u32 slot = rule->slot;
	struct fw_counters *counters = bpf_map_lookup_elem(&fw_counters, &slot);

	if (!counters)
		return;
	counters->packets++;
	counters->bytes += pkt->frame_length;
}

static __always_inline int fw_act(const struct fw_rule *rule)
{
	switch (rule->action) {
	case FW_ALLOW:
		return EVNF_NEXT;
	case FW_NETFILTER:
		return evnf_kernel(rule->reason);
	default:
		return evnf_drop(rule->reason);
	}
}

EVNF_STAGE(fw, ctx, pkt)
{
	const struct fw_rule *rule = fw_match(pkt);

	if (!rule)
		return evnf_drop(EVNF_REASON_INTERNAL);
	fw_count(rule, pkt);
	evnf_note(pkt, rule->note);
	return fw_act(rule);
}
