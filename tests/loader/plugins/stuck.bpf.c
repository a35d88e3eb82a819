// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* A program that does not follow the stage contract: it never goes on. */
#include <evnf/stage.bpf.h>

EVNF_LICENSE;

SEC("xdp") int stuck(struct xdp_md *ctx)
{
	return evnf_current_packet() && evnf_config.stage ? XDP_DROP : XDP_PASS;
}
