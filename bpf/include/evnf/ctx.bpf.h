/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The context layer: everything that a stage needs of its hook. A stage is
 * written against evnf_ctx and these helpers only, and the same source is
 * compiled twice: for XDP, and for tc (with EVNF_BUILD_TC).
 *
 *	evnf_frame_length, evnf_header, evnf_pull, evnf_load_bytes, evnf_outer_vlan, evnf_protocol
 *		the frame's bytes, and what the kernel holds beside them
 *	evnf_adjust_l4_checksum
 *		a checksum that the sender may have left to hardware
 *	evnf_segment_length
 *		what goes on the wire of a packet that is still to be segmented
 *	evnf_cut, evnf_make_room, evnf_is_checksum_pending
 *		a frame that becomes another packet
 *	evnf_hand, evnf_redirect, evnf_make_link_header
 *		where the frame goes
 *
 * Pointers into the frame do not outlive a call of evnf_pull,
 * evnf_adjust_l4_checksum, evnf_cut, evnf_make_room, evnf_is_checksum_pending,
 * evnf_hand or evnf_make_link_header.
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "checksum.bpf.h"
#include "packet_shared.h"

#define EVNF_LICENSE char LICENSE[] SEC("license") = "Dual MIT/GPL"

/* Headers beyond this offset are not looked at: the parser drops such packets. */
#define EVNF_MAX_OFFSET 1024

#ifdef EVNF_BUILD_TC
#include "ctx_tc.bpf.h"
#else
#include "ctx_xdp.bpf.h"
#endif

/* The `size` bytes at `offset` of the frame, or NULL where the frame is shorter. */
static __always_inline void *evnf_header(const evnf_ctx *ctx, __u32 offset, __u32 size)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u64 bounded = offset;

	if (offset > EVNF_MAX_OFFSET)
		return NULL;
	/* Changes nothing; the verifier of 6.1 forgets the test where the offset was spilled to the stack. */
	asm volatile("%0 &= %1" : "+r"(bounded) : "i"(2 * EVNF_MAX_OFFSET - 1));
	data += bounded;
	return data + size > end ? NULL : data;
}
