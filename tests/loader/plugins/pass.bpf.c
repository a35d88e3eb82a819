// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A stage that lets everything go on. */
#include <evnf/stage.bpf.h>

EVNF_LICENSE;

EVNF_STAGE(pass, ctx, pkt)
{
	return EVNF_NEXT;
}
