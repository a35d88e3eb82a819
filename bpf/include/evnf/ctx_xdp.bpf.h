/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The context layer over XDP: frames as they are on the wire. */
#pragma once

typedef struct xdp_md evnf_ctx;

#define EVNF_SECTION "xdp"
#define EVNF_CHAIN evnf_chain

enum {
	EVNF_TC = 0,
	EVNF_HOOK_DROP = XDP_DROP,
	EVNF_HOOK_PASS = XDP_PASS,
};

static __always_inline __u32 evnf_frame_length(const evnf_ctx *ctx)
{
	return ctx->data_end - ctx->data;
}

/* The ethertype as the kernel has it; XDP has the frame only. */
static __always_inline __be16 evnf_protocol(const evnf_ctx *ctx)
{
	return 0;
}

/* True on that interface: where a frame comes in or, at tc egress, leaves. */
static __always_inline bool evnf_is_at(const evnf_ctx *ctx, __u32 ifindex)
{
	return ctx->ingress_ifindex == ifindex;
}

/* True in BPF_PROG_TEST_RUN, whose frames come from the loopback device (always interface 1). */
static __always_inline bool evnf_is_test_run(const evnf_ctx *ctx)
{
	return evnf_is_at(ctx, 1);
}

/* Makes more of the frame's begin readable; false where nothing changed. */
static __always_inline bool evnf_pull(evnf_ctx *ctx)
{
	return false;
}

/* A VLAN tag that is not in the frame any more, in host order; -1 where there is none. */
static __always_inline int evnf_outer_vlan(const evnf_ctx *ctx)
{
	return -1;
}

/* Copies frame bytes of a length known only at run time; 0 or a negative errno. */
static __always_inline long evnf_load_bytes(evnf_ctx *ctx, __u32 offset, void *to, __u32 length)
{
	return bpf_xdp_load_bytes(ctx, offset, to, length);
}

/*
 * Follows in the L4 checksum at `offset` what changed in the pseudo header and
 * in the segment. UDP's checksum 0 means that there is none: it stays, and is
 * never the result. False where the frame is too short.
 */
static __always_inline bool evnf_adjust_l4_checksum(evnf_ctx *ctx, __u32 offset, __u32 pseudo_header,
						    __u32 segment, bool is_udp)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 bounded = offset & (2 * EVNF_MAX_OFFSET - 1);
	__u16 *checksum = data + bounded;

	if ((void *)(checksum + 1) > end)
		return false;
	if (is_udp && !*checksum)
		return true;
	*checksum = evnf_checksum_add(*checksum, pseudo_header + segment);
	if (is_udp && !*checksum)
		*checksum = 0xffff;
	return true;
}

static __always_inline __u32 evnf_segment_length(const evnf_ctx *ctx, const struct evnf_packet *pkt)
{
	return pkt->l3_length;
}

/* Leaves the first `length` bytes, as a frame that is whole and all within direct reach. False where it cannot be. */
static __always_inline bool evnf_cut(evnf_ctx *ctx, __u32 length)
{
	__u32 present = evnf_frame_length(ctx);

	/* Or the compiler takes one pointer from the length, and then the other: no arithmetic for the verifier. */
	barrier_var(present);
	return !bpf_xdp_adjust_tail(ctx, (int)length - (int)present);
}

/* Room for `length` bytes before the frame, where it begins from now on. False where there is none. */
static __always_inline bool evnf_make_room(evnf_ctx *ctx, __u32 length)
{
	return !bpf_xdp_adjust_head(ctx, -(int)length);
}

/*
 * Is the checksum that the frame came with to be completed on its way out? The
 * 2 bytes at `offset`, where the caller is going to write a checksum, must be 0
 * and may be anything after.
 */
static __always_inline bool evnf_is_checksum_pending(evnf_ctx *ctx, __u32 offset)
{
	return false;
}

/* What the tc programs behind must know goes before the frame as metadata. */
static __always_inline bool evnf_hand(evnf_ctx *ctx, const struct evnf_handover *handed)
{
	struct evnf_handover *handover;

	/* In place of metadata that came with the frame, not before it. */
	if (bpf_xdp_adjust_meta(ctx, (int)(ctx->data - ctx->data_meta) - (int)sizeof(*handover)))
		return false;
	handover = (void *)(long)ctx->data_meta;
	if ((void *)(handover + 1) > (void *)(long)ctx->data)
		return false;
	*handover = *handed;
	return true;
}

/* Makes room for an Ethernet header where the frame has none: false where it could not. */
static __always_inline bool evnf_make_link_header(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	return true;
}

/*
 * Sends the frame out of the port that it came from. Not by XDP_TX: without an
 * XDP program at the other end, a veth lets what that sends lie until some
 * other frame goes the same way (veth_xdp_flush).
 */
static __always_inline int evnf_reply(evnf_ctx *ctx, struct evnf_packet *pkt)
{
	return bpf_redirect(ctx->ingress_ifindex, 0);
}

/* Sends the frame out of the port that element `port` of a devmap names; where there is none, the kernel traces it. */
static __always_inline int evnf_redirect(evnf_ctx *ctx, void *devmap, __u32 port, __u32 ifindex)
{
	return bpf_redirect_map(devmap, port, XDP_ABORTED);
}

/* Only tc can. */
static __always_inline int evnf_redirect_unresolved(evnf_ctx *ctx, __u32 ifindex)
{
	return XDP_ABORTED;
}
