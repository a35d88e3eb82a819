/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The context layer: everything that a stage needs of its hook. A stage is
 * written against evnf_ctx and these helpers only, so that the same source can
 * be compiled for another hook by giving this file another implementation.
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "packet_shared.h"

#define EVNF_SECTION "xdp"
#define EVNF_LICENSE char LICENSE[] SEC("license") = "Dual MIT/GPL"

/* Headers beyond this offset are not looked at: the parser drops such packets. */
#define EVNF_MAX_OFFSET 1024

typedef struct xdp_md evnf_ctx;

enum evnf_hook_action {
	EVNF_HOOK_DROP = XDP_DROP,
	EVNF_HOOK_PASS = XDP_PASS,
	EVNF_HOOK_REPLY = XDP_TX,
};

static __always_inline __u32 evnf_frame_length(const evnf_ctx *ctx)
{
	return ctx->data_end - ctx->data;
}

/* True in BPF_PROG_TEST_RUN, whose frames come from the loopback device (always interface 1). */
static __always_inline bool evnf_is_test_run(const evnf_ctx *ctx)
{
	return ctx->ingress_ifindex == 1;
}

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

/* Copies frame bytes of a length known only at run time; 0 or a negative errno. */
static __always_inline long evnf_load_bytes(evnf_ctx *ctx, __u32 offset, void *to, __u32 length)
{
	return bpf_xdp_load_bytes(ctx, offset, to, length);
}

/* Sends the frame out of the port that element `port` of a devmap names; where there is none, the kernel traces it. */
static __always_inline int evnf_redirect(void *devmap, __u32 port)
{
	return bpf_redirect_map(devmap, port, XDP_ABORTED);
}
