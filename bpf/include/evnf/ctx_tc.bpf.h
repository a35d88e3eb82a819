/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The context layer over tc (sched_cls): packets as the kernel's stack holds
 * them. They may be larger than the wire takes (GSO), have a checksum that the
 * hardware is to complete (CHECKSUM_PARTIAL), a VLAN tag beside the frame, and
 * only their headers within direct reach.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

typedef struct __sk_buff evnf_ctx;

#define EVNF_SECTION "tc"
#define EVNF_CHAIN evnf_tc_chain

enum {
	EVNF_TC = 1,
	EVNF_HOOK_DROP = TC_ACT_SHOT,
	EVNF_HOOK_PASS = TC_ACT_UNSPEC, /* filters of other people behind ours see the packet, too */
};

static __always_inline __u32 evnf_frame_length(const evnf_ctx *ctx)
{
	return ctx->len;
}

static __always_inline __be16 evnf_protocol(const evnf_ctx *ctx)
{
	return ctx->protocol;
}

static __always_inline bool evnf_is_at(const evnf_ctx *ctx, __u32 ifindex)
{
	return ctx->ifindex == ifindex;
}

static __always_inline bool evnf_is_test_run(const evnf_ctx *ctx)
{
	return evnf_is_at(ctx, 1);
}

/* Headers are nearly always within reach, and pulling costs a copy: so it is done for a packet that needs it. */
static __always_inline bool evnf_pull(evnf_ctx *ctx)
{
	__u32 reach = ctx->data_end - ctx->data, wanted = EVNF_MAX_OFFSET + 64;

	if (wanted > ctx->len)
		wanted = ctx->len;
	return reach < wanted && !bpf_skb_pull_data(ctx, wanted);
}

static __always_inline int evnf_outer_vlan(const evnf_ctx *ctx)
{
	return ctx->vlan_present ? (int)(ctx->vlan_tci & 0xfff) : -1;
}

static __always_inline long evnf_load_bytes(evnf_ctx *ctx, __u32 offset, void *to, __u32 length)
{
	return bpf_skb_load_bytes(ctx, offset, to, length);
}

/* Only the kernel knows whether the hardware completes the checksum; then it is a sum over the pseudo header alone. */
static __always_inline bool evnf_adjust_l4_checksum(evnf_ctx *ctx, __u32 offset, __u32 pseudo_header,
						    __u32 segment, bool is_udp)
{
	__u64 flags = is_udp ? BPF_F_MARK_MANGLED_0 : 0;

	return !bpf_l4_csum_replace(ctx, offset, 0, pseudo_header, flags | BPF_F_PSEUDO_HDR) &&
	       !bpf_l4_csum_replace(ctx, offset, 0, segment, flags);
}

/* Bytes of IP packet in each of the segments that this one will become. */
static __always_inline __u32 evnf_segment_length(const evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	__u32 segment = pkt->payload_offset - pkt->l3_offset + ctx->gso_size;

	return ctx->gso_size && segment < pkt->l3_length ? segment : pkt->l3_length;
}

/* The kernel makes a packet of its own of it: linear, and no GSO packet any more. */
static __always_inline bool evnf_cut(evnf_ctx *ctx, __u32 length)
{
	return !bpf_skb_change_tail(ctx, length, 0);
}

static __always_inline bool evnf_make_room(evnf_ctx *ctx, __u32 length)
{
	return !bpf_skb_change_head(ctx, length, 0);
}

/* Only the kernel knows: a change beside the pseudo header leaves a pending checksum as it is. */
static __always_inline bool evnf_is_checksum_pending(evnf_ctx *ctx, __u32 offset)
{
	__u16 probe = 0;

	return !bpf_l4_csum_replace(ctx, offset, 0, 1, 0) && !bpf_skb_load_bytes(ctx, offset, &probe, sizeof(probe)) &&
	       !probe;
}

/* tc_index goes with the packet through routing, netfilter, fragmentation and reassembly, and is nobody else's. */
static __always_inline bool evnf_hand(evnf_ctx *ctx, const struct evnf_handover *handed)
{
	ctx->tc_index = handed->word;
	return true;
}

/* bpf_redirect_neigh() fills in a link header, and takes no packet that has no room for one. */
static __always_inline bool evnf_make_link_header(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	if (pkt->bare && bpf_skb_change_head(ctx, sizeof(struct ethhdr), 0))
		return false;
	pkt->bare = 0;
	return true;
}

/* After routing the frame has another link's addresses: the kernel's neighbour table gives the right ones. */
static __always_inline int evnf_reply(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	ctx->tc_index = EVNF_RESUME_DONE;
	if (!evnf_make_link_header(ctx, pkt))
		return EVNF_HOOK_DROP;
	return pkt->resumed ? bpf_redirect_neigh(ctx->ingress_ifindex, NULL, 0, 0) :
			      bpf_redirect(ctx->ifindex, 0);
}

static __always_inline int evnf_redirect(evnf_ctx *ctx, void *devmap, __u32 port, __u32 ifindex)
{
	ctx->tc_index = EVNF_RESUME_DONE;
	return bpf_redirect(ifindex, 0);
}

/* As above, by the kernel's neighbour table, which asks for the MAC address of the packet's next hop if it must. */
static __always_inline int evnf_redirect_unresolved(evnf_ctx *ctx, __u32 ifindex)
{
	ctx->tc_index = EVNF_RESUME_DONE;
	return bpf_redirect_neigh(ifindex, NULL, 0, 0);
}
