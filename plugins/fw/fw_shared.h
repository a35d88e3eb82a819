/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What both paths of fw know. Each field of a packet has a table that says, for
 * each value, which rules that value satisfies: one bit a rule, in the order of
 * the rules. The rules that a packet matches are the AND of its fields' rows.
 */
#ifndef FW_SHARED_H
#define FW_SHARED_H

#include <evnf/packet_shared.h>

enum {
	FW_MAX_RULES = 128,
	FW_DEFAULT = FW_MAX_RULES, /* index in fw_rules of what is done where no rule matches */
	FW_SLOTS = 512,            /* counters: rules of this generation and of those just replaced */
	FW_DEFAULT_SLOT = 0,
};

/* The fields; each but the addresses has an array of FW_*_ROWS rows. */
enum fw_field {
	FW_SRC,
	FW_DST,
	FW_SPORT,
	FW_DPORT,
	FW_PROTOCOL,
	FW_ICMP,
	FW_TCP_FLAGS,
	FW_VLAN,
	FW_IN_PORT,
	FW_FIELDS,
};

/* A packet that lacks a field has a row too: the last one, which no rule about the field is in. */
enum {
	FW_PORT_ROWS = 65536 + 1,
	FW_NO_PORT = FW_PORT_ROWS - 1, /* no TCP, UDP or SCTP header: other protocols, later fragments */
	FW_PROTOCOL_ROWS = 256,
	FW_ICMP_ROWS = 256 + 256 + 1, /* types of ICMP, then types of ICMPv6 */
	FW_ICMPV6_ROW = 256,
	FW_NO_ICMP = FW_ICMP_ROWS - 1,
	FW_TCP_FLAGS_ROWS = 256 + 1,
	FW_NO_TCP = FW_TCP_FLAGS_ROWS - 1,
	FW_VLAN_ROWS = 4096 + 1,
	FW_UNTAGGED = FW_VLAN_ROWS - 1,
	FW_IN_PORT_ROWS = EVNF_MAX_PORTS,
};

enum fw_action {
	FW_ALLOW,     /* on to the next stage */
	FW_DROP,
	FW_NETFILTER, /* leave the decision to the kernel's own firewall */
};

/* One bit a rule; the lowest bit is the first rule. */
struct fw_bitmap {
	__u64 words[FW_MAX_RULES / 64];
};

/* Key of the address tables. The family keeps ::/0 from meaning IPv4 too, which is mapped into it. */
struct fw_prefix {
	__u32 length; /* in bits, the family's 32 included */
	__u32 family; /* 4 or 6 */
	union evnf_address address;
};
EVNF_STATIC_ASSERT(sizeof(struct fw_prefix) == 24);

/* Read-only data: what the verifier may rely on, so that it removes the look-ups that nobody needs. */
struct fw_config {
	struct fw_bitmap rules;               /* all there are */
	struct fw_bitmap asking[FW_FIELDS];   /* those that look at the field */
};

/* Array fw_rules, in the order of the rules; the default at FW_DEFAULT. */
struct fw_rule {
	__u32 slot;   /* in fw_counters */
	__u16 note;   /* index + 1: 0 means that fw came to no decision */
	__u8 action;  /* enum fw_action */
	__u8 reason;  /* enum evnf_reason of a packet that ends here */
};
EVNF_STATIC_ASSERT(sizeof(struct fw_rule) == 8);

/* State, per CPU and by slot: what matched a rule since the rule's name first appeared. */
struct fw_counters {
	__u64 packets;
	__u64 bytes; /* whole frames */
};

/* State, by slot: whose counters they are. */
struct fw_rule_name {
	char text[64];
};

#endif
