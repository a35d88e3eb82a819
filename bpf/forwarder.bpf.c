// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Forwarder: the last stage of every chain. In mode route it does what a router
 * does for plain unicast traffic and leaves the rest to the kernel; in mode
 * wire it moves the frame untouched to the other end of the wire.
 */
#include "evnf/nexthop.bpf.h"
#include "evnf/rewrite.bpf.h"

EVNF_LICENSE;

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, EVNF_MAX_PORTS);
	__type(key, __u32);
	__type(value, __u32);
} evnf_egress SEC(".maps");

/* Addresses that no router forwards from or to (RFC 1812, section 5.3.7; RFC 4291, section 2). */
static __always_inline bool is_unicast(const union evnf_address *address, __u8 ip_version)
{
	if (ip_version == 4) {
		__u8 first = address->bytes[12];

		return first != 0 && first != 127 && first < 224;
	}
	if (address->bytes[0] == 0xff || (address->bytes[0] == 0xfe && (address->bytes[1] & 0xc0) == 0x80))
		return false;
	return address->halves[0] || (address->words[2] && address->words[2] != bpf_htonl(0xffff));
}

/* Why the kernel must route this packet, or EVNF_REASON_NONE. */
static __always_inline enum evnf_reason needs_kernel(const struct evnf_packet *pkt)
{
	if (pkt->ttl <= 1)
		return EVNF_REASON_TTL_EXPIRED;
	if (pkt->vlan_tags)
		return EVNF_REASON_VLAN;
	if (pkt->ip_options)
		return EVNF_REASON_IP_OPTIONS;
	if (!is_unicast(&pkt->src, pkt->ip_version) || !is_unicast(&pkt->dst, pkt->ip_version))
		return EVNF_REASON_NOT_UNICAST;
	return EVNF_REASON_NONE;
}

static __always_inline int send(evnf_ctx *ctx, struct evnf_packet *pkt, __u32 egress)
{
	const struct evnf_port_config *port = EVNF_TC ? evnf_port_config(egress) : NULL;

	if (EVNF_TC && !port)
		return evnf_finish(ctx, pkt, evnf_drop(EVNF_REASON_INTERNAL));
	evnf_record(pkt, EVNF_FORWARD);
	if (egress == pkt->port)
		return evnf_reply(ctx, pkt);
	return evnf_redirect(ctx, &evnf_egress, egress, port ? port->ifindex : 0);
}

/* All is known but the next hop's MAC address. */
static __always_inline int send_unresolved(evnf_ctx *ctx, struct evnf_packet *pkt, __u32 egress)
{
	if (EVNF_TC && !evnf_decrement_ttl(ctx, pkt->l3_offset, pkt->ip_version))
		return evnf_finish(ctx, pkt, evnf_drop(EVNF_REASON_TRUNCATED));
	evnf_record(pkt, evnf_kernel(EVNF_REASON_NO_NEIGHBOUR));
	if (EVNF_TC)
		return evnf_redirect_unresolved(ctx, egress);
	/* The handover at tc does it, TTL included; where it is not told, the kernel routes the packet. */
	evnf_hand_over(ctx, EVNF_RESUME_NEIGHBOUR, egress);
	return EVNF_HOOK_PASS;
}

static __always_inline int route(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	struct evnf_nexthop *hop = evnf_nexthop_entry(pkt);
	enum evnf_reason reason = needs_kernel(pkt);
	const struct evnf_routing *routing = evnf_current_routing();
	struct ethhdr *eth;
	__u32 egress;
	int decision;

	if (reason)
		return evnf_finish(ctx, pkt, evnf_kernel(reason));
	if (!hop || !routing)
		return evnf_finish(ctx, pkt, evnf_kernel(EVNF_REASON_INTERNAL));
	if (!evnf_nexthop_valid(hop, pkt, routing)) {
		decision = evnf_nexthop_resolve(ctx, pkt, routing, hop, &egress);
		if (decision == evnf_kernel(EVNF_REASON_NO_NEIGHBOUR))
			return send_unresolved(ctx, pkt, egress);
		if (decision != EVNF_NEXT)
			return evnf_finish(ctx, pkt, decision);
	}
	if (evnf_segment_length(ctx, pkt) > hop->mtu)
		return evnf_finish(ctx, pkt, evnf_kernel(EVNF_REASON_FRAGMENTATION_NEEDED));
	if (!evnf_decrement_ttl(ctx, pkt->l3_offset, pkt->ip_version))
		return evnf_finish(ctx, pkt, evnf_drop(EVNF_REASON_TRUNCATED));
	eth = evnf_header(ctx, 0, sizeof(*eth));
	if (!eth)
		return evnf_finish(ctx, pkt, evnf_drop(EVNF_REASON_TRUNCATED));
	__builtin_memcpy(eth->h_dest, hop->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, hop->smac, ETH_ALEN);
	return send(ctx, pkt, hop->egress);
}

/*
 * The kernel has routed the packet and taken from its TTL. Only where a stage
 * has given it another destination since must it be routed again.
 */
static __always_inline int route_resumed(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	const struct evnf_routing *routing = evnf_current_routing();
	struct bpf_fib_lookup fib = {};
	long result;

	if (!pkt->readdressed) {
		bool at_vip_device = !routing || evnf_is_at(ctx, routing->vip_device);

		evnf_record(pkt, at_vip_device ? evnf_drop(EVNF_REASON_VIP_NOT_SERVED) : EVNF_FORWARD);
		return at_vip_device ? EVNF_HOOK_DROP : EVNF_HOOK_PASS;
	}
	result = evnf_fib_lookup(ctx, pkt, &fib);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return evnf_finish(ctx, pkt, evnf_drop(result < 0 ? EVNF_REASON_NOT_FORWARDED : evnf_fib_reason(result)));
	if (!evnf_make_link_header(ctx, pkt))
		return evnf_finish(ctx, pkt, evnf_drop(EVNF_REASON_INTERNAL));
	evnf_record(pkt, EVNF_FORWARD);
	return evnf_redirect_unresolved(ctx, fib.ifindex);
}

static __always_inline int wire(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	__u32 port = pkt->port;
	struct evnf_port_config *config = bpf_map_lookup_elem(&evnf_port_configs, &port);

	if (!config || config->wire == EVNF_NO_PORT)
		return evnf_finish(ctx, pkt, evnf_drop(EVNF_REASON_NO_WIRE));
	return send(ctx, pkt, config->wire);
}

SEC(EVNF_SECTION) int evnf_forwarder(evnf_ctx *ctx)
{
	struct evnf_packet *pkt = evnf_current_packet();

	if (!pkt)
		return EVNF_HOOK_DROP;
	evnf_visit(pkt);
	if (pkt->self_test)
		return EVNF_HOOK_DROP;
	if (evnf_config.tap || evnf_config.dry_run)
		return evnf_finish(ctx, pkt, EVNF_FORWARD); /* of a copy it makes a drop */
	if (EVNF_TC && pkt->resumed)
		return route_resumed(ctx, pkt);
	return evnf_config.wire ? wire(ctx, pkt) : route(ctx, pkt);
}
