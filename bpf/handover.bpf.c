// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Handover: at tc ingress of a port whose chain runs at XDP. */
#include "evnf/handover.bpf.h"

EVNF_LICENSE;

SEC(EVNF_SECTION) int evnf_handover(evnf_ctx *ctx)
{
	return evnf_take_over(ctx);
}
