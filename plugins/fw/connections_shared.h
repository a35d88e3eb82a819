/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Connections, as both paths of fw know them: what tells them apart, what their
 * ends have said, and how long they are remembered.
 */
#ifndef FW_CONNECTIONS_SHARED_H
#define FW_CONNECTIONS_SHARED_H

#ifdef __cplusplus
#include <netinet/in.h>
#else
#include <linux/in.h>
#include <linux/in6.h>
#endif

#include <evnf/packet_shared.h>

/* What a packet is to the connections: a rule's `state`. */
enum fw_state {
	FW_STATE_NEW,         /* nobody has answered yet */
	FW_STATE_ESTABLISHED, /* both ends have been heard of */
	FW_STATE_RELATED,     /* an ICMP error about a packet of a connection */
	FW_STATE_INVALID,     /* of no connection, and none begins so */
	FW_STATES,
};

/* The L4 header, for rules and connections: that of the first fragment in later ones. */
struct fw_l4 {
	__be16 sport, dport; /* of an ICMP query: its identifier at the asking end, the question's type at the other */
	__u8 tcp_flags;
	__u8 icmp_type, icmp_code;
	__u8 known; /* 0: a later fragment whose first was not seen */
};
EVNF_STATIC_ASSERT(sizeof(struct fw_l4) == 8);

/* The first of a packet's fragments, remembered for those that follow. */
struct fw_fragment {
	struct fw_l4 l4;
	__u64 seen; /* jiffies */
};

/* Both directions have the same key: the lower of the two ends comes first. */
enum fw_end { FW_LOW, FW_HIGH, FW_ENDS };
struct fw_connection_key {
	union evnf_address addresses[FW_ENDS];
	__be16 ports[FW_ENDS]; /* as in fw_l4 */
	__u8 protocol;
	__u8 pad[3];
};
EVNF_STATIC_ASSERT(sizeof(struct fw_connection_key) == 40);

/* What an end has said. */
enum {
	FW_SAID = 1 << 0,      /* anything */
	FW_SAID_ACK = 1 << 1,  /* TCP: an acknowledgement */
	FW_SAID_FIN = 1 << 2,
	FW_SAID_RST = 1 << 3,  /* with its latest packet */
};

struct fw_connection {
	__u32 acked[FW_ENDS]; /* TCP, by who sent it: acknowledgement number, as of last_seen */
	__u32 last_seen;      /* low half of jiffies */
	__u8 originator;      /* enum fw_end: who sent the first packet */
	__u8 said[FW_ENDS];
	__u8 pad;
};
EVNF_STATIC_ASSERT(sizeof(struct fw_connection) == 16);

/* What a connection's age is measured by. */
enum fw_phase {
	FW_PHASE_SYN,
	FW_PHASE_ESTABLISHED,
	FW_PHASE_FIN,    /* one end has closed */
	FW_PHASE_CLOSED, /* both have */
	FW_PHASE_RESET,
	FW_PHASE_UDP,
	FW_PHASE_ICMP,
	FW_PHASE_OTHER,
	FW_PHASES,
};

static inline enum fw_phase fw_phase_of(__u8 protocol, const struct fw_connection *connection)
{
	__u8 any = connection->said[FW_LOW] | connection->said[FW_HIGH];
	__u8 both = connection->said[FW_LOW] & connection->said[FW_HIGH];

	if (protocol == IPPROTO_TCP) {
		if (any & FW_SAID_RST)
			return FW_PHASE_RESET;
		if (both & FW_SAID_FIN)
			return FW_PHASE_CLOSED;
		if (any & FW_SAID_FIN)
			return FW_PHASE_FIN;
		return both & FW_SAID_ACK ? FW_PHASE_ESTABLISHED : FW_PHASE_SYN;
	}
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return FW_PHASE_ICMP;
	return protocol == IPPROTO_UDP ? FW_PHASE_UDP : FW_PHASE_OTHER;
}

/* Per CPU, state: what became of connections. */
struct fw_connection_counters {
	__u64 opened;  /* entries made in fw_half_open */
	__u64 moved;   /* from there to fw_connections */
	__u64 refused; /* had no room in fw_connections, and stay where they may be forgotten early */
};

enum {
	FW_FRAGMENTS = 16384,
	FW_FRAGMENT_JIFFIES = 7500, /* how long a first fragment is remembered: 7.5 s to 75 s whatever the kernel's HZ */
	FW_RESET_WINDOW = 1 << 24,  /* bytes from what was last acknowledged in which a RST must lie */
};

#endif
