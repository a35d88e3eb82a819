// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Two programs: which one would be the stage? */
#include <evnf/stage.bpf.h>

EVNF_LICENSE;

EVNF_STAGE(one, ctx, pkt)
{
	return EVNF_NEXT;
}

EVNF_STAGE(two, ctx, pkt)
{
	return EVNF_NEXT;
}
