// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program that the verifier refuses: it reads beyond the frame's end. */
#include <evnf/stage.bpf.h>

EVNF_LICENSE;

EVNF_STAGE(rejected, ctx, pkt)
{
	return *(volatile __u8 *)(long)ctx->data ? EVNF_NEXT : EVNF_NEXT;
}
