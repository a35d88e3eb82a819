// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Forwarder: the last stage of every chain. In mode route it does what a router
 * does for plain unicast traffic and leaves the rest to the kernel; in mode
 * wire it moves the frame untouched to the other end of the wire.
 */
#include "evnf/nexthop.bpf.h"

EVNF_LICENSE;

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, EVNF_MAX_PORTS);
	__type(key, __u32);
	__type(value, __u32);
} evnf_egress SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EVNF_MAX_PORTS);
	__type(key, __u32);
	__type(value, struct evnf_port_config);
} evnf_port_configs SEC(".maps");

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

/* TTL down by one; the IPv4 header checksum follows (RFC 1141). */
static __always_inline bool decrement_ttl(evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	if (pkt->ip_version == 4) {
		struct iphdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));
		__u32 sum;

		if (!ip)
			return false;
		sum = (__u32)ip->check + bpf_htons(0x0100);
		ip->check = sum + (sum >= 0xffff);
		ip->ttl--;
	} else {
		struct ipv6hdr *ip = evnf_header(ctx, pkt->l3_offset, sizeof(*ip));

		if (!ip)
			return false;
		ip->hop_limit--;
	}
	return true;
}

static __always_inline int send(evnf_ctx *ctx, struct evnf_packet *pkt, __u32 egress)
{
	evnf_record(pkt, EVNF_FORWARD);
	return egress == pkt->port ? EVNF_HOOK_REPLY : evnf_redirect(&evnf_egress, egress);
}

static __always_inline int route(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	struct evnf_nexthop *hop = evnf_nexthop_entry(pkt);
	enum evnf_reason reason = needs_kernel(pkt);
	struct evnf_routing *routing;
	struct ethhdr *eth;
	__u32 zero = 0;
	int decision;

	if (reason)
		return evnf_finish(ctx, pkt, evnf_kernel(reason));
	routing = bpf_map_lookup_elem(&evnf_routing, &zero);
	if (!hop || !routing)
		return evnf_finish(ctx, pkt, evnf_kernel(EVNF_REASON_INTERNAL));
	if (!evnf_nexthop_valid(hop, pkt, routing)) {
		decision = evnf_nexthop_resolve(ctx, pkt, routing, hop);
		if (decision != EVNF_NEXT)
			return evnf_finish(ctx, pkt, decision);
	}
	if (pkt->l3_length > hop->mtu)
		return evnf_finish(ctx, pkt, evnf_kernel(EVNF_REASON_FRAGMENTATION_NEEDED));
	if (!decrement_ttl(ctx, pkt))
		return evnf_finish(ctx, pkt, evnf_drop(EVNF_REASON_TRUNCATED));
	eth = evnf_header(ctx, 0, sizeof(*eth));
	if (!eth)
		return evnf_finish(ctx, pkt, evnf_drop(EVNF_REASON_TRUNCATED));
	__builtin_memcpy(eth->h_dest, hop->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, hop->smac, ETH_ALEN);
	return send(ctx, pkt, hop->egress);
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
	if (evnf_config.dry_run)
		return evnf_finish(ctx, pkt, EVNF_FORWARD);
	return evnf_config.wire ? wire(ctx, pkt) : route(ctx, pkt);
}
