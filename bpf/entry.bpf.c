// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Entry: the program that is attached to a port. Counts, parses once for all
 * stages, lets link control pass by the chain, and enters the chain.
 */
#include "evnf/handover.bpf.h"
#include "evnf/parser.bpf.h"
#include "evnf/port.bpf.h"

EVNF_LICENSE;

static __always_inline void begin(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	__u32 port = evnf_config.port;
	struct evnf_port_counters *counters = bpf_map_lookup_elem(&evnf_ports, &port);

	pkt->port = port;
	pkt->frame_length = evnf_frame_length(ctx);
	pkt->now = bpf_jiffies64();
	pkt->visited = 0;
	pkt->resumed = 0;
	pkt->readdressed = 0;
	pkt->bare = 0;
	pkt->ordinal = evnf_config.ordinal;
	pkt->self_test = !evnf_config.dry_run && evnf_is_test_run(ctx);
	if (counters && !pkt->self_test) {
		counters->packets++;
		counters->bytes += pkt->frame_length;
	}
	evnf_visit(pkt);
}

/* In promiscuous mode or behind a flooding switch, frames for other stations arrive too. */
static __always_inline bool is_for_other_host(evnf_ctx *ctx)
{
	struct ethhdr *eth = evnf_header(ctx, 0, sizeof(*eth));
	__u32 port = evnf_config.port;
	struct evnf_port_config *config = bpf_map_lookup_elem(&evnf_port_configs, &port);
	__u32 own_high, high;
	__u16 own_low, low;

	if (!eth || !config || (eth->h_dest[0] & 1))
		return false;
	__builtin_memcpy(&own_high, config->mac, 4);
	__builtin_memcpy(&own_low, config->mac + 4, 2);
	__builtin_memcpy(&high, eth->h_dest, 4);
	__builtin_memcpy(&low, eth->h_dest + 4, 2);
	return (own_high | own_low) && (own_high != high || own_low != low);
}

/* On a wire, what the chain does not judge belongs to the other end and not to this host. */
static __always_inline int pass_by(evnf_ctx *ctx, struct evnf_packet *pkt, enum evnf_reason reason)
{
	if (!evnf_config.wire || evnf_config.tap)
		return evnf_finish(ctx, pkt, evnf_kernel(reason));
	bpf_tail_call(ctx, &EVNF_CHAIN, evnf_config.last_slot);
	return evnf_missed(ctx, pkt);
}

SEC(EVNF_SECTION) int evnf_entry(evnf_ctx *ctx)
{
	struct evnf_packet *pkt = evnf_current_packet();
	int decision;

	if (!pkt)
		return EVNF_HOOK_DROP;
	/* While a port goes from XDP to tc or back, both of its programs are there. */
	if (evnf_was_handed_over(ctx))
		return evnf_take_over(ctx);
	begin(ctx, pkt);
	if (pkt->self_test)
		return evnf_finish(ctx, pkt, EVNF_NEXT);
	decision = evnf_parse(ctx, pkt);
	if (decision == evnf_kernel(EVNF_REASON_NOT_IP))
		return pass_by(ctx, pkt, EVNF_REASON_NOT_IP);
	if (evnf_config.tap) /* copies, whoever they are for */
		return evnf_finish(ctx, pkt, decision);
	if (decision == EVNF_NEXT && evnf_is_control(pkt))
		return pass_by(ctx, pkt, EVNF_REASON_CONTROL);
	if (decision == EVNF_NEXT && !evnf_config.wire && is_for_other_host(ctx))
		decision = evnf_kernel(EVNF_REASON_OTHER_HOST);
	return evnf_finish(ctx, pkt, decision);
}
