// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * dpi: counts every packet in the entry of its flow, and copies to the slow
 * path what it needs to name the application: packets with payload, up to a
 * budget and until there is a verdict. The packet itself always goes on.
 */
#include "dpi_copy.bpf.h"

EVNF_LICENSE;

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* The next flow id. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} dpi_ids SEC(".maps");

/* Names for the numbers in verdicts: user space's alone, and declared here to live as long as the flows. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DPI_MAX_APPS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct dpi_app);
} dpi_apps SEC(".maps");

static __always_inline bool is_from_endpoint_0(const struct evnf_packet *pkt)
{
	if (pkt->src.halves[0] != pkt->dst.halves[0])
		return pkt->src.halves[0] < pkt->dst.halves[0];
	if (pkt->src.halves[1] != pkt->dst.halves[1])
		return pkt->src.halves[1] < pkt->dst.halves[1];
	return pkt->sport <= pkt->dport;
}

/* Writes the key of the packet's flow; the direction of the packet in it. */
static __always_inline __u32 make_key(const struct evnf_packet *pkt, struct dpi_key *key)
{
	__u32 direction = !is_from_endpoint_0(pkt);

	key->address[0] = direction ? pkt->dst : pkt->src;
	key->address[1] = direction ? pkt->src : pkt->dst;
	key->port[0] = direction ? pkt->dport : pkt->sport;
	key->port[1] = direction ? pkt->sport : pkt->dport;
	key->vlan[0] = pkt->vlan[0];
	key->vlan[1] = pkt->vlan[1];
	key->protocol = pkt->protocol;
	return direction;
}

static __always_inline bool is_tcp(const struct evnf_packet *pkt)
{
	return pkt->protocol == IPPROTO_TCP && pkt->fragment != EVNF_FRAGMENT_LATER;
}

static __always_inline bool opens_connection(const struct evnf_packet *pkt)
{
	return is_tcp(pkt) && (pkt->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* A verdict for a flow that begins: a fresh id and nothing known. */
static __always_inline __u64 fresh_verdict(void)
{
	__u32 zero = 0;
	__u64 *next = bpf_map_lookup_elem(&dpi_ids, &zero);

	return next ? dpi_verdict(__sync_fetch_and_add(next, 1) + 1, 0, 0, DPI_NEW) : 0;
}

/* Fills the part of an entry that tells how the flow began. */
static __always_inline void begin_flow(evnf_ctx *ctx, const struct evnf_packet *pkt, __u32 direction,
				       struct dpi_flow *flow)
{
	struct tcphdr *tcp;

	flow->first_seen = pkt->now;
	flow->initiator = direction;
	if (!is_tcp(pkt) || has_payload(pkt))
		return;
	tcp = evnf_header(ctx, pkt->l4_offset, sizeof(*tcp));
	if (!tcp)
		return;
	flow->flags = DPI_FLOW_HANDSHAKE;
	flow->opening.seq = tcp->seq;
	flow->opening.ack_seq = tcp->ack_seq;
	flow->opening.tcp_flags = pkt->tcp_flags;
	flow->opening.direction = direction;
	/* The answer to a SYN that was not seen here. */
	if ((pkt->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK))
		flow->initiator = !direction;
}

static __always_inline struct dpi_flow *open_flow(evnf_ctx *ctx, const struct evnf_packet *pkt,
						  const struct dpi_key *key, __u32 direction)
{
	struct dpi_flow fresh = { .verdict = fresh_verdict() };
	struct dpi_faults *counters;
	struct dpi_flow *flow;

	begin_flow(ctx, pkt, direction, &fresh);
	/* Another CPU may have been faster: then the entry that is there is the one. */
	bpf_map_update_elem(&dpi_flows, key, &fresh, BPF_NOEXIST);
	flow = bpf_map_lookup_elem(&dpi_flows, key);
	counters = faults();
	if (!flow && counters)
		counters->untracked_packets++;
	return flow;
}

/*
 * A SYN on a flow that had payload or an end is another connection with the
 * same 5-tuple: it must not inherit a verdict. A retransmitted SYN is not.
 */
static __always_inline bool is_reopened(const struct evnf_packet *pkt, const struct dpi_flow *flow)
{
	return opens_connection(pkt) &&
	       (flow->flags & (DPI_FLOW_PAYLOAD | DPI_FLOW_FIN_0 | DPI_FLOW_FIN_1 | DPI_FLOW_RST));
}

static __always_inline void reopen_flow(evnf_ctx *ctx, const struct evnf_packet *pkt, __u32 direction,
					struct dpi_flow *flow)
{
	struct dpi_flow fresh = { .verdict = fresh_verdict() };

	begin_flow(ctx, pkt, direction, &fresh);
	/* From here on a verdict on the old flow is stale; one that came a moment ago still counts. */
	dpi_add_to_totals(flow, __sync_lock_test_and_set(&flow->verdict, fresh.verdict));
	*flow = fresh;
}

static __always_inline void count(const struct evnf_packet *pkt, __u32 direction, struct dpi_flow *flow)
{
	__sync_fetch_and_add(&flow->packets[direction & 1], 1);
	__sync_fetch_and_add(&flow->bytes[direction & 1], pkt->l3_length);
	/* Spares the other CPUs' caches: most packets come within the same jiffy. */
	if (flow->last_seen != pkt->now)
		flow->last_seen = pkt->now;
	if (!is_tcp(pkt))
		return;
	if (pkt->tcp_flags & TCP_FIN)
		set_flags(flow, direction ? DPI_FLOW_FIN_1 : DPI_FLOW_FIN_0);
	if (pkt->tcp_flags & TCP_RST)
		set_flags(flow, DPI_FLOW_RST);
}

EVNF_STAGE(dpi, ctx, pkt)
{
	struct dpi_key key = {};
	__u32 direction = make_key(pkt, &key);
	struct dpi_flow *flow = bpf_map_lookup_elem(&dpi_flows, &key);

	if (!flow)
		flow = open_flow(ctx, pkt, &key, direction);
	else if (is_reopened(pkt, flow))
		reopen_flow(ctx, pkt, direction, flow);
	if (!flow)
		return EVNF_NEXT;
	count(pkt, direction, flow);
	if (wants_copy(pkt, flow))
		offer_copy(ctx, pkt, &key, direction, flow);
	if (has_payload(pkt) && pkt->fragment != EVNF_FRAGMENT_LATER)
		set_flags(flow, DPI_FLOW_PAYLOAD);
	evnf_note(pkt, flow->verdict);
	return EVNF_NEXT;
}
